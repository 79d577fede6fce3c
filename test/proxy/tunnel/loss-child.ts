/** Runs in a network namespace of its own, where packets are small and many are lost: bytes through a tunnel, both ways. */
import { execFileSync } from 'node:child_process'
import t from 'tap'
import { Rig } from '../../conformance/engine/rig.ts'
import { echo, ending, hashOf, pattern, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import {
  closeTunnels,
  createTunnelledPump,
  createTunnelledStreams,
  gatewayPorts,
} from '../../support/tunnel/engines.ts'

const [way, lost] = process.argv.slice(2)

t.teardown(closeTunnels)
t.test('bytes arrive whole, and the ends of both sides', { timeout: 240_000 }, async t => {
  const { backend } = await tcpBackend(t, echo)
  const create = way === 'pump' ? createTunnelledPump : createTunnelledStreams
  const rig = await Rig.start(t, create, { backends: [backend] })
  const rules = gatewayPorts.flatMap(port =>
    ['dport', 'sport'].map(
      side => `add rule inet loss in tcp ${side} ${port} numgen random mod 100 < ${lost} counter drop`,
    ),
  )
  const chain = 'add table inet loss; add chain inet loss in { type filter hook input priority 0; }'
  execFileSync('nft', [[chain, ...rules].join('; ')])
  const client = await eventually(() => rig.client(), 120_000)
  const data = pattern(256 << 10)
  const end = ending(client)
  client.end(data)
  t.match(await end, { end: 'fin', hash: hashOf(data) })
  const { reason } = await eventually(() => rig.chooser.totals[0] ?? Promise.reject(new Error('it goes on')), 120_000)
  t.equal(reason, 'done')
  const counted = execFileSync('nft', ['list', 'table', 'inet', 'loss'], { encoding: 'utf8' })
  const dropped = [...counted.matchAll(/packets (\d+)/g)].reduce((sum, [, packets]) => sum + Number(packets), 0)
  t.ok(dropped > 10, `${dropped} packets were dropped`)
})
