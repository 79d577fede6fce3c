/** gRPC: calls, streams of both directions, and a channel that is used through a rolling update. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Application, Stage } from './support/application.ts'
import { callsBy, sessionBy } from './support/client-program.ts'

const port = 50051
const program = join(import.meta.dirname, 'programs/grpc-client.ts')

export const grpc: Application = {
  name: 'grpc',
  needs: [],
  port,
  protocols: ['TCP'],
  server: ({ ip, name }) => [
    ...[process.execPath, join(import.meta.dirname, 'programs/grpc-server.ts'), ip, `${port}`, name],
  ],
  once: callsBy(program),
  session: sessionBy(program),
  own: { 'one channel': oneChannel },
}

/** Calls of one channel, one after the other, while both pods are replaced: the servers say GOAWAY, and no call fails. */
async function oneChannel(stage: Stage): Promise<void> {
  const channel = await sessionBy(program, 'calls')(stage.pod, stage.target)
  const seen = new Set<string>()
  let rolling = true
  const calls = (async () => {
    while (rolling) {
      seen.add(await channel.use())
      await sleep(5)
    }
  })()
  calls.catch(() => {})
  for (const [old, next, cluster] of [
    ['one', 'three', 1],
    ['two', 'four', 2],
  ] as const) {
    await stage.startPod(next, cluster)
    await stage.declare()
    await stage.endPod(old)
  }
  rolling = false
  await calls
  assert.ok(seen.size >= 2, `answered by ${[...seen]}`)
  await channel.close()
}
