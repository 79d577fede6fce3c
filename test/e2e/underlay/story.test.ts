/** `starlane run` with an underlay on every node: DNS, proxy, health and failover over it. Takes half a minute: `npm run test:underlay`. */
import assert from 'node:assert/strict'
import t from 'tap'
import type { ServiceView, Status } from '../../../proxy/model/views.ts'
import { eventually } from '../../support/eventually.ts'
import { stateOf } from '../../support/underlay/applied.ts'
import { type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { answers, Story } from '../../support/underlay/story.ts'
import { ping } from '../../support/underlay/traffic.ts'

const long = process.env.STARLANE_UNDERLAY ? false : 'takes half a minute: npm run test:underlay'
const skip = whyNoUnderlay('ping', 'curl') || long

const admin = ({ machine }: NodeMachine, path: string) =>
  machine.do(`curl -sS --max-time 5 http://127.0.0.1:9911${path}`)

for (const mode of ['vxlan', 'direct'] as const) {
  t.test(`${mode}: the x-wing finds the rebel base of both clusters`, { skip, timeout: 240_000 }, async t => {
    const world = await UnderlayWorld.start(t, { routed: mode === 'vxlan' })
    const [a1, a2, b1, b2] = ['a1', 'a2', 'b1', 'b2'].map(name => world.node(name)) as [
      NodeMachine,
      NodeMachine,
      NodeMachine,
      NodeMachine,
    ]
    const story = new Story(t, world, { mode })
    story.write([a1, b1, b2])
    await story.serve(t)
    const before = await stateOf(a1)
    const agents = world.nodes.map(node => story.run(t, node))
    await Promise.all(agents.map(agent => agent.says(/"event":"ready"/)))
    for (const node of [a1, b1]) {
      await eventually(async () => assert.deepEqual(await answers(node, 12), new Set(['a1', 'b1', 'b2'])), 30_000)
    }
    t.pass('pods of both clusters reach the pods of all nodes by the ClusterIP of their own cluster')

    const service = async (): Promise<ServiceView> => JSON.parse(await admin(a1, '/v1/services/default/rebel-base'))
    await eventually(async () => {
      const notes = (await service()).backends.map(({ node, notes }) => [node, notes?.underlay?.state])
      assert.deepEqual(notes.sort(), [
        ['a1', undefined],
        ['b1', 'reached'],
        ['b2', 'reached'],
      ])
    })
    const explained = await a1.machine.do(
      `${process.execPath} ${process.cwd()}/bin/starlane.js explain default/rebel-base --admin 127.0.0.1:9911`,
    )
    t.match(explained, /underlay reached: b1 192\.0\.\d\.21/, 'explain names the node that the underlay goes to')
    const status = JSON.parse(await admin(a1, '/v1/status')) as Status
    t.match(
      status.underlay?.peers.map(({ node, state }) => `${node} ${state}`),
      ['a2 reached', 'b1 reached', 'b2 reached'],
    )
    t.match(
      status.components.find(({ name }) => name === 'Underlay')?.detail,
      new RegExp(`^${mode}.*3/3 nodes reached`),
    )
    const text = await a1.machine.do(
      `${process.execPath} ${process.cwd()}/bin/starlane.js status --admin 127.0.0.1:9911`,
    )
    t.match(text, /cluster-2 +b1 +192\.0\.\d\.21 .*reached/, 'status lists the nodes, with how long packets take')
    t.match(
      await admin(a1, '/metrics'),
      /starlane_underlay_peer_state\{cluster="cluster-2",node="b1",state="reached"\} 1/,
    )

    // The link of a node fails: its pods get no flows, and the rest goes on.
    await world.wire.do('ip link set b1 down')
    await eventually(async () => assert.deepEqual(await answers(a1, 8), new Set(['a1', 'b2'])), 30_000)
    await eventually(async () => {
      const { problems } = JSON.parse(await admin(a1, '/v1/status')) as Status
      assert.ok(problems.some(({ where, message }) => where === 'cluster-2/b1' && /does not answer/.test(message)))
    }, 30_000)
    t.pass('status says which node does not answer')
    await world.wire.do('ip link set b1 up')
    await eventually(async () => assert.deepEqual(await answers(a1, 12), new Set(['a1', 'b1', 'b2'])), 30_000)

    // No local pod is left: all goes through the underlay.
    story.write([b1, b2])
    await eventually(async () => assert.deepEqual(await answers(a1, 8), new Set(['b1', 'b2'])), 30_000)
    t.pass('without local pods those of the other cluster serve')

    // A successor takes over: the network stands all the while, and the predecessor leaves it there.
    const successor = story.run(t, a1)
    await successor.says(/"event":"ready"/)
    await agents[0]?.ended()
    await eventually(async () => assert.match(successor.log, /underlay\.ready/), 30_000)
    t.match(successor.log, /"changes":0,"event":"underlay\.ready"|"event":"underlay\.ready"[^\n]*"changes":0/)
    await ping(a1.pod, b1.podAddresses[0])
    t.same(await answers(a1, 4).then(found => found.size > 0), true)

    // A crash leaves the network.
    await successor.stop('SIGKILL')
    await ping(a1.pod, b1.podAddresses[0])
    const again = story.run(t, a1)
    await again.says(/"event":"ready"/)
    await again.says(/underlay\.ready/)
    t.equal(await again.stop(), 0)
    t.equal(await stateOf(a1), before, 'at the end everything is removed')
    await t.rejects(ping(a1.pod, b1.podAddresses[0], { seconds: 1 }))
    await Promise.all(agents.slice(1).map(agent => agent.stop()))
    t.ok(a2)
  })
}
