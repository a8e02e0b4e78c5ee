// Calls a gateway with OpenAI's AzureOpenAI for Node: the address in ENDPOINT; what each call gave, as JSON on standard output.
import { AzureOpenAI } from 'openai';

const settings = { endpoint: process.env.ENDPOINT, apiKey: 'any', apiVersion: '2025-04-01-preview', maxRetries: 0 };
const messages = [{ role: 'user', content: 'Hello' }];
const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } }];
const found = {};

for (const deployment of [undefined, 'fast']) {
  const client = new AzureOpenAI({ ...settings, deployment });
  const own = {};
  own.chat = (await client.chat.completions.create({ model: 'fast', messages })).choices[0].message.content;
  own.stream = '';
  for await (const chunk of await client.chat.completions.create({ model: 'fast', messages, stream: true })) {
    own.stream += chunk.choices[0]?.delta?.content ?? '';
  }
  own.response = (await client.responses.create({ model: 'fast', input: 'Hello' })).output_text;
  found[deployment ?? 'none'] = own;
}

const client = new AzureOpenAI(settings);
const called = await client.chat.completions.create({ model: 'tools', messages, tools });
found.tool = called.choices[0].message.tool_calls[0].function.name;
found.embedding = (await client.embeddings.create({ model: 'vectors', input: 'Hello' })).data[0].embedding.length;
found.models = (await client.models.list()).data.map((model) => model.id);
try {
  await client.chat.completions.create({ model: 'unknown', messages });
} catch (error) {
  found.error = [error.constructor.name, error.status, error.code];
}
console.log(JSON.stringify(found));
