// Does the job with the AI SDK: DIALECT, TASK, PROMPT from the environment, the model from the recipe; the answer on standard output.
import { execSync } from 'node:child_process';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { DIALECT, TASK, PROMPT } = process.env;
const { model } = await import(`./recipe_${DIALECT}.mjs`);
const shell = tool({
  description: 'Run a command.',
  inputSchema: z.object({ command: z.string() }),
  execute: async ({ command }) => execSync(command, { encoding: 'utf8' }),
});
// The gateway stores nothing, so that an answer can't be referred to later.
const providerOptions = { openai: { store: false } };
const request = { model, prompt: PROMPT, tools: { shell }, stopWhen: stepCountIs(5), maxRetries: 2, providerOptions };

try {
  if (TASK === 'whole') {
    const { text, totalUsage } = await generateText(request);
    console.log(text, JSON.stringify(totalUsage));
  } else if (TASK === 'structured') {
    const result = streamText({ ...request, output: Output.object({ schema: z.object({ word: z.string() }) }), onError: ({ error }) => { throw error; } });
    console.log((await result.output).word);
  } else {
    const result = streamText({ ...request, onError: () => {} });
    for await (const part of result.fullStream) {
      if (part.type === 'text-delta') process.stdout.write(part.text);
      if (part.type === 'error') throw part.error;
    }
    console.log('', JSON.stringify(await result.totalUsage));
  }
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
