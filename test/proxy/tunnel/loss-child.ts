/** Runs in a network namespace of its own, where packets are small and many are lost: bytes through a tunnel, both ways. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { echo, hashOf, pattern, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { tunnelRig } from '../../support/tunnel/rig.ts'

t.test('bytes arrive whole, and the ends of both sides', { timeout: 240_000 }, async t => {
  const { backend } = await tcpBackend(t, echo)
  const rig = await tunnelRig(t, [backend])
  const lost = process.argv[2] ?? '30'
  const rule = (side: string) =>
    `add rule inet loss in tcp ${side} ${rig.server.port} numgen random mod 100 < ${lost} counter drop`
  const chain = 'add table inet loss; add chain inet loss in { type filter hook input priority 0; }'
  const rules = [chain, rule('dport'), rule('sport')].join('; ')
  execFileSync('nft', [rules])
  const stream = await eventually(() => rig.client.dial(rig.backends[0] as Backend), 60_000)
  const door = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(door, 'listening')
  const { port } = door.address() as { port: number }
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [near] = (await once(door, 'connection')) as [Socket]
  door.close()
  const done = new Promise<string>(resolve => stream.carry(near, resolve))
  const data = pattern(256 << 10)
  const chunks: Buffer[] = []
  client.on('data', chunk => chunks.push(chunk))
  client.end(data)
  await once(client, 'end')
  t.equal(hashOf(Buffer.concat(chunks)), hashOf(data))
  t.equal(await done, 'done')
  const counted = execFileSync('nft', ['list', 'table', 'inet', 'loss'], { encoding: 'utf8' })
  const dropped = [...counted.matchAll(/packets (\d+)/g)].reduce((sum, [, packets]) => sum + Number(packets), 0)
  t.ok(dropped > 10, `${dropped} packets were dropped`)
})
