/** What `--print bird` and `--print frr` print, run by these daemons on every node: the routes are those of mode direct. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../../support/eventually.ts'
import { Agent } from '../../support/underlay/agent.ts'
import { type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { pairsOf, ping } from '../../support/underlay/traffic.ts'

const long = process.env.STARLANE_UNDERLAY ? false : 'takes half a minute: npm run test:underlay'
const skip = whyNoUnderlay('ping') || long
/** Where FRR keeps its daemons, which are in nobody's PATH. */
const frr = ['/usr/lib/frr', '/usr/libexec/frr'].find(folder => existsSync(join(folder, 'bgpd')))
const noBird = spawnSync('bird', ['--version']).error ? 'there is no bird' : false
const noFrr = frr === undefined ? 'there is no FRR' : false

interface Program {
  readonly command: readonly string[]
  /** A file that is there once the program is ready; the next one is started then. */
  readonly makes?: string
}

/** The programs of a node, which run until they are killed. `folder` is the node's own. */
type Programs = (file: string, folder: string) => Program[]

const bird: Programs = (file, folder) => [{ command: ['bird', '-f', '-c', file, '-s', join(folder, 'ctl')] }]

/**
 * `zebra` knows the links, and puts into the kernel what `bgpd` learns. A session that is there before `bgpd` knows the addresses of the links
 * announces no next hop in IPv6. Both give up root for a user of their own, who has files there.
 */
const frrPrograms: Programs = (file, folder) => {
  for (const each of [dirname(folder), folder]) chmodSync(each, 0o777)
  const socket = join(folder, 'zserv')
  const shared = ['--vty_socket', folder, '-z', socket]
  writeFileSync(join(folder, 'zebra.conf'), '')
  return [
    {
      command: [`${frr}/zebra`, ...shared, '-f', join(folder, 'zebra.conf'), '-i', join(folder, 'zebra.pid')],
      makes: socket,
    },
    { command: [`${frr}/bgpd`, ...shared, '-f', file, '-i', join(folder, 'bgpd.pid')] },
  ]
}

t.test('BIRD exchanges the pod networks of all nodes, both families', { skip: skip || noBird, timeout: 120_000 }, t =>
  exchanged(t, 'bird', bird),
)

t.test('FRR does', { skip: skip || noFrr, timeout: 120_000 }, t => exchanged(t, 'frr', frrPrograms))

async function exchanged(t: Test, which: 'bird' | 'frr', programs: Programs): Promise<void> {
  const world = await UnderlayWorld.start(t)
  // The path of a unix socket has 107 bytes at most.
  const folder = mkdtempSync(join(tmpdir(), `${which}-`))
  t.teardown(() => rmSync(folder, { recursive: true }))
  await Promise.all(world.nodes.map(node => routed(t, { node, world, folder, which, programs })))
  for (const [from, to] of pairsOf(world.nodes)) {
    for (const address of to.podAddresses) await eventually(() => ping(from.pod, address, { seconds: 1 }), 60_000)
  }
  const proto = which === 'bird' ? 'bird' : 'bgp'
  t.match(
    await world.node('a1').machine.do('ip route'),
    new RegExp(`10\\.2\\.1\\.0/24 .*via 192\\.0\\.1\\.21 dev eth0 proto ${proto}`),
  )
}

interface Routed {
  readonly node: NodeMachine
  readonly world: UnderlayWorld
  readonly folder: string
  readonly which: 'bird' | 'frr'
  readonly programs: Programs
}

async function routed(t: Test, { node, world, folder, which, programs }: Routed): Promise<void> {
  const printed = new Agent(t, world, node, ['underlay', '--print', which])
  const { code, log } = await printed.ended()
  t.equal(code, 0, `the configuration of ${node.name}: ${code === 0 ? 'printed' : log}`)
  const own = join(folder, node.name)
  mkdirSync(own)
  const file = join(own, `${which}.conf`)
  writeFileSync(file, log)
  for (const { command, makes } of programs(file, own)) {
    const child = node.machine.start(command)
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', text => {
        said += text
      })
    }
    child.once('exit', code => code !== null && t.fail(`${command[0]} on ${node.name} has ended: ${said}`))
    t.teardown(() => void child.kill('SIGKILL'))
    if (makes !== undefined) await eventually(async () => assert.ok(existsSync(makes)))
  }
}
