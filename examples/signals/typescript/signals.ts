// What a TypeScript program may say to a connection's workflow with Temporal's SDK alone: it
// makes the workflow read its row, asks how the connection is, and asks for a fresh token.
// The contract is docs/signals.md.
//
//   npm ci && npx tsc && TEMPORAL_ADDRESS=127.0.0.1:7233 node signals.js con_... perennial
//
// The second argument is the workers' task queue.
import { ApplicationFailure, Client, Connection, WorkflowUpdateFailedError } from '@temporalio/client';

interface Status {
  status: 'active' | 'paused' | 'reconnect_required' | 'disconnected' | 'missing';
  generation: number;
}

interface Refreshed {
  outcome: string;
  generation: number;
}

async function run(id: string, queue: string): Promise<void> {
  const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS });
  try {
    const client = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE ?? 'default' });

    // A plain signal finds no workflow if the last run was terminated. With a start it always
    // arrives, and a running workflow is not started again.
    const handle = await client.workflow.signalWithStart('ConnectionWorkflow', {
      workflowId: `connection/${id}`,
      taskQueue: queue,
      args: [{ connection_id: id, revision: 1 }],
      signal: 'nudge',
    });

    const { status, generation } = await handle.query<Status>('status');
    console.log(`status ${status}, generation ${generation}`);

    // With if_generation a repeated request does no harm: the second caller gets
    // already_fresh.
    try {
      const reply = await handle.executeUpdate<Refreshed, [object]>('refresh_now', { args: [{ if_generation: generation }] });
      console.log(`refresh ${reply.outcome}, generation ${reply.generation}`);
    } catch (err) {
      if (!(err instanceof WorkflowUpdateFailedError && err.cause instanceof ApplicationFailure)) throw err;
      console.log(`not refreshed: ${err.cause.type}`); // reconnect_required, paused, ...
    }
  } finally {
    await connection.close();
  }
}

const [id, queue] = process.argv.slice(2);
if (!id || !queue) {
  console.error('Give the id of a connection and the task queue of the workers: node signals.js con_... perennial');
  process.exit(2);
}
run(id, queue).catch((err) => {
  console.error(err);
  process.exit(1);
});
