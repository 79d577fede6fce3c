/** What matters most, in seconds: `starlane underlay` and `starlane run` on a node of each cluster. */
import assert from 'node:assert/strict'
import t from 'tap'
import { eventually } from '../../support/eventually.ts'
import { Agent } from '../../support/underlay/agent.ts'
import { stateOf } from '../../support/underlay/applied.ts'
import { UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { answers, Story } from '../../support/underlay/story.ts'
import { ping } from '../../support/underlay/traffic.ts'

const skip = whyNoUnderlay('ping', 'curl', 'dig')

t.test(
  'a node comes and goes; a crash leaves the network, a successor takes over',
  { skip, timeout: 90_000 },
  async t => {
    const world = await UnderlayWorld.start(t, { nodesPerCluster: 1 })
    const [a1, b1] = [world.node('a1'), world.node('b1')]
    const before = await stateOf(a1)
    const [first, other] = [new Agent(t, world, a1), new Agent(t, world, b1)]
    await Promise.all([first.says(/underlay\.ready/), other.says(/underlay\.ready/)])
    await ping(a1.pod, b1.podAddresses[0])
    const b2 = { ...b1, name: 'b2', addresses: ['192.0.1.22', 'fd00:c0:1::22'] as const }
    const more = [...world.nodes, { ...b2, networks: ['10.2.2.0/24', 'fd00:2:2::/64'] as const }]
    world.write(more)
    await eventually(async () => assert.match(await stateOf(a1), /10\.2\.2\.0\/24/))
    world.write()
    await eventually(async () => assert.doesNotMatch(await stateOf(a1), /10\.2\.2\.0/))
    await first.stop('SIGKILL')
    await ping(a1.pod, b1.podAddresses[1])
    const successor = new Agent(t, world, a1)
    await successor.says(/"changes":0,"event":"underlay\.ready"/)
    t.same(await Promise.all([successor.stop(), other.stop()]), [0, 0])
    t.equal(await stateOf(a1), before, 'at the end everything is removed')
  },
)

t.test(
  'the x-wing reaches the pods of both clusters by DNS, proxy and underlay',
  { skip, timeout: 90_000 },
  async t => {
    const world = await UnderlayWorld.start(t, { nodesPerCluster: 1 })
    const [a1, b1] = [world.node('a1'), world.node('b1')]
    const story = new Story(t, world, { mode: 'vxlan' })
    story.write()
    await story.serve(t)
    const agents = [story.run(t, a1), story.run(t, b1)]
    await Promise.all(agents.map(agent => agent.says(/"event":"ready"/)))
    for (const node of [a1, b1]) {
      await eventually(async () => assert.deepEqual(await answers(node, 6), new Set(['a1', 'b1'])), 30_000)
    }
    await world.wire.do('ip link set b1 down')
    await eventually(async () => assert.deepEqual(await answers(a1, 4), new Set(['a1'])), 30_000)
    await world.wire.do('ip link set b1 up')
    await eventually(async () => assert.deepEqual(await answers(a1, 6), new Set(['a1', 'b1'])), 30_000)
    t.same(await Promise.all(agents.map(agent => agent.stop())), [0, 0])
  },
)
