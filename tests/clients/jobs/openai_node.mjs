// Does the job with OpenAI's SDK for Node: MODEL, DIALECT, TASK, PROMPT from the environment; the answer on standard output.
import { execSync } from 'node:child_process';
import OpenAI from 'openai';

const { MODEL, DIALECT, TASK, PROMPT } = process.env;
const client = new OpenAI();
const run = (text) => execSync(JSON.parse(text).command, { encoding: 'utf8' });
const parameters = { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] };
const schema = { type: 'object', properties: { word: { type: 'string' } }, required: ['word'], additionalProperties: false };

async function chat() {
  const messages = [{ role: 'user', content: PROMPT }];
  const tools = [{ type: 'function', function: { name: 'shell', parameters } }];
  const response_format = TASK === 'structured' ? { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } } : undefined;
  for (;;) {
    const request = { model: MODEL, messages, tools, response_format };
    const completion = TASK === 'whole'
      ? await client.chat.completions.create(request)
      : await client.chat.completions.stream({ ...request, stream_options: { include_usage: true } }).finalChatCompletion();
    const { message } = completion.choices[0];
    if (!message.tool_calls?.length) return [message.content, completion.usage];
    messages.push(message, ...message.tool_calls.map((call) => ({ role: 'tool', tool_call_id: call.id, content: run(call.function.arguments) })));
  }
}

async function responses() {
  const input = [{ role: 'user', content: PROMPT }];
  const tools = [{ type: 'function', name: 'shell', parameters, strict: false }];
  const text = TASK === 'structured' ? { format: { type: 'json_schema', name: 'answer', schema, strict: true } } : undefined;
  for (;;) {
    const request = { model: MODEL, input, tools, text, store: false };
    const response = TASK === 'whole' ? await client.responses.create(request) : await client.responses.stream(request).finalResponse();
    const calls = response.output.filter((item) => item.type === 'function_call');
    if (calls.length === 0) return [response.output_text, response.usage];
    input.push(...response.output, ...calls.map((call) => ({ type: 'function_call_output', call_id: call.call_id, output: run(call.arguments) })));
  }
}

try {
  const [answer, usage] = await { chat, responses }[DIALECT]();
  console.log(TASK === 'structured' ? JSON.parse(answer).word : answer, JSON.stringify(usage));
} catch (error) {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exit(1);
}
