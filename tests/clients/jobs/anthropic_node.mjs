// Does the job with Anthropic's SDK for Node: MODEL, TASK, PROMPT from the environment; the answer on standard output.
import { execSync } from 'node:child_process';
import Anthropic from '@anthropic-ai/sdk';

const { MODEL, TASK, PROMPT } = process.env;
const client = new Anthropic();
const input_schema = { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] };
const schema = { type: 'object', properties: { word: { type: 'string' } }, required: ['word'], additionalProperties: false };
const messages = [{ role: 'user', content: PROMPT }];

async function answer() {
  for (;;) {
    const output_config = TASK === 'structured' ? { format: { type: 'json_schema', schema } } : undefined;
    const request = { model: MODEL, max_tokens: 4096, messages, tools: [{ name: 'shell', input_schema }], output_config };
    const message = TASK === 'whole' ? await client.messages.create(request) : await client.messages.stream(request).finalMessage();
    const calls = message.content.filter((block) => block.type === 'tool_use');
    if (calls.length === 0) return [message.content.findLast((block) => block.type === 'text').text, message.usage];
    const results = calls.map((call) => ({ type: 'tool_result', tool_use_id: call.id, content: execSync(call.input.command, { encoding: 'utf8' }) }));
    messages.push({ role: 'assistant', content: message.content }, { role: 'user', content: results });
  }
}

try {
  const [text, usage] = await answer();
  console.log(TASK === 'structured' ? JSON.parse(text).word : text, JSON.stringify(usage));
} catch (error) {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exit(1);
}
