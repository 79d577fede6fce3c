/** No flow starves another: how much large transfers move while a small message goes there and back. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { freePort } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { backend as backendOf } from '../../support/model.ts'
import { program } from '../../support/programs/program.ts'
import { type EngineUnderTest, Rig } from './rig.ts'

const mebibyte = 1024 * 1024
const seconds = 2
/** A turn of four transfers, and what they move meanwhile in the buffers of the kernel and on other cores. */
const mostPerRoundTrip = 6 * mebibyte

export function fairnessSuite(t: Test, { create, perRoundTrip = mostPerRoundTrip }: EngineUnderTest): void {
  const load = program(t, fileURLToPath(new URL('../../../bench/load/fairness.c', import.meta.url)))
  if (!load) {
    t.pass('there is no C compiler for the load')
    return
  }

  t.test('an echo gets its turn beside four bulk transfers', async t => {
    const port = await freePort('127.0.0.1')
    const server = spawn(load, ['serve', String(port)], { stdio: 'inherit' })
    t.teardown(() => server.kill('SIGKILL'))
    const rig = await Rig.start(t, create, {
      ip: '127.0.0.1',
      backends: [backendOf({ address: '127.0.0.1', port })],
    })
    await eventually(async () => {
      const socket = rig.knock()
      socket.end()
      await once(socket, 'connect')
      await rig.settled()
      if (!rig.chooser.outcomes.includes('connected')) throw new Error('the server does not listen yet')
    })
    const client = spawn(load, ['load', String(rig.port), '4', String(seconds)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => client.kill('SIGKILL'))
    const [line] = await once(client.stdout, 'data')
    const { echoes, gbits } = JSON.parse(String(line)) as { echoes: number; gbits: number }
    const bytes = (gbits * 1e9 * seconds) / 8
    t.ok(bytes > 16 * mebibyte, `${Math.round(bytes / mebibyte)} MiB in bulk`)
    t.ok(bytes / echoes < perRoundTrip, `${(bytes / echoes / mebibyte).toFixed(2)} MiB per round trip`)
  })
}
