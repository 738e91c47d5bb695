// Runs the agent service and talks to it through the official client, whose verifier judges every event.

import { HttpAgent } from '@ag-ui/client';
import { EventSchemas } from '@ag-ui/core/schemas';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { format } from 'node:util';

const { EVENTBENCH, SCRATCH } = process.env;
const LIMIT_MS = 60_000;

function fail(...words) {
  writeSync(2, `ag-ui-client: ${format(...words)}\n`);
  process.exit(1);
}

// The client tells some of what it dislikes only on the console.
const complaints = [];
for (const level of ['warn', 'error']) {
  console[level] = (...words) => void complaints.push(words.join(' '));
}

setTimeout(() => fail('not done within', 3 * LIMIT_MS, 'ms'), 3 * LIMIT_MS).unref();

/** Starts the service and gives its address and a function that ends it. */
async function service(...options) {
  const db = join(SCRATCH, 'accounts.db');
  const args = ['service', 'agent', '--listen', '127.0.0.1:0', '--db', db, '--accounts', '50', ...options];
  const child = spawn(EVENTBENCH, args, { stdio: ['ignore', 'inherit', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stderr });
  let log = '';
  const url = await new Promise((resolve) => {
    lines.on('line', (line) => {
      log += `${line}\n`;
      const ready = /ready: (http:\S+\/api\/copilotkit)/.exec(line);
      if (ready) resolve(ready[1]);
    });
    ended.then(() => resolve(undefined));
  });
  if (!url) fail('the service did not become ready:', log);
  const stop = async () => {
    child.kill('SIGTERM');
    const [code] = await ended;
    if (code !== 0) fail('the service ended with', code, log);
  };
  return { url, stop };
}

let threads = 0;

/** Has the client run a workflow; gives the events that it let pass, and what it complained of. */
async function run(url, forwardedProps, agent) {
  const events = [];
  let runError;
  agent ??= new HttpAgent({
    url,
    threadId: `thread-${++threads}`,
    initialMessages: [{ id: `user-${threads}`, role: 'user', content: 'Look at the account, please' }],
  });
  const runId = `run-${Math.random().toString(36).slice(2)}`;
  let error;
  try {
    await agent.runAgent({ runId, forwardedProps }, {
      onEvent: ({ event }) => void events.push(event),
      onRunErrorEvent: ({ event }) => void (runError = event),
    });
  } catch (caught) {
    error = caught;
  }
  return { agent, runId, events, error, runError };
}

const WORKFLOWS = ['account_analysis', 'daily_review', 'risk_assessment', 'reference'];
let passed = 0;

const sound = await service();
for (const workflow of WORKFLOWS) {
  for (const pace_ms of [0, 1]) {
    const { agent, runId, events, error } = await run(sound.url, { workflow, account_id: 'ACC-000007', pace_ms });
    if (error) fail(workflow, 'is not accepted:', error);
    const [first, last] = [events[0], events.at(-1)];
    if (first?.type !== 'RUN_STARTED' || last?.type !== 'RUN_FINISHED') fail(workflow, 'gives', events);
    if (first.runId !== runId || last.threadId !== agent.threadId) fail(workflow, 'has other ids', first, last);
    if (workflow === 'reference' && events.length !== 20) fail('the reference run has', events.length, 'events');
    for (const event of events) {
      EventSchemas.parse(event);
      // What is measured by must reach those who use the client.
      if (!Number.isSafeInteger(event.rawEvent?.emitNs) || !Number.isSafeInteger(event.timestamp)) fail('unstamped:', event);
      if (Math.abs(Date.now() - event.timestamp) > LIMIT_MS) fail('a stamp of another time:', event);
    }
    const text = events.map((event) => (event.type === 'TEXT_MESSAGE_CONTENT' ? event.delta : '')).join('');
    const message = agent.messages.find((message) => message.role === 'assistant' && message.content);
    if (!text || message?.content !== text) fail(workflow, 'has the message', message, 'of the text', text);
    const calls = agent.messages.flatMap((message) => message.toolCalls ?? []);
    const results = agent.messages.filter((message) => message.role === 'tool');
    if (!calls.length || calls.length !== results.length) fail(workflow, 'has', calls.length, 'calls and', results.length, 'results');
    for (const call of calls) JSON.parse(call.function.arguments);
    const done = workflow === 'reference' ? agent.state.status === 'done' : agent.state.completed_steps?.at(-1) === 'approval';
    if (!done) fail(workflow, 'leaves the state', agent.state);
    passed += events.length;
  }
}

// A second run of a thread adds to the first.
const { agent } = await run(sound.url, { workflow: 'reference' });
const before = agent.messages.length;
const second = await run(sound.url, { workflow: 'reference' }, agent);
if (second.error || agent.messages.length !== 2 * before - 1) fail('two runs of a thread give', agent.messages, second.error);

const unknown = await run(sound.url, { workflow: 'reference', account_id: 'ACC-999999' });
if (unknown.runError?.code !== 'unknown_account') fail('an unknown account gives', unknown);
const refused = await run(sound.url, { workflow: 'nap' });
if (!/unknown_workflow/.test(JSON.stringify(refused.error?.payload) + refused.error)) fail('an unknown workflow gives', refused.error);
await sound.stop();
// The two errors above are told by the client as well.
const others = complaints.filter((words) => !/unknown_workflow|there is no account|HTTP 400/.test(words));
if (others.length > 0) fail('the client complains:', others);

// A check that cannot fail says nothing: the same client on a service that drops events, or cuts its runs.
let refusals = 0;
for (const every of [2, 3, 4]) {
  const faulty = await service('--fault', `drop-every=${every}`);
  for (const workflow of WORKFLOWS) {
    const { error } = await run(faulty.url, { workflow, account_id: 'ACC-000007' });
    if (!error) fail(workflow, 'is accepted although each event number', every, 'is missing');
    refusals += 1;
  }
  await faulty.stop();
}
console.log(`ag-ui-client: ${passed} events of ${WORKFLOWS.length} workflows accepted, ${refusals} faulty runs refused`);
process.exit(0);
