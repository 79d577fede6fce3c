/** What `--print bird` prints, run by BIRD on every node: the routes are those of mode direct. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../../support/eventually.ts'
import { Agent } from '../../support/underlay/agent.ts'
import { UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { pairsOf, ping } from '../../support/underlay/traffic.ts'

const noBird = spawnSync('bird', ['--version']).error ? 'there is no bird' : false
const long = process.env.STARLANE_UNDERLAY ? false : 'takes half a minute: npm run test:underlay'
const skip = whyNoUnderlay('ping') || noBird || long

t.test('BIRD exchanges the pod networks of all nodes, both families', { skip, timeout: 120_000 }, async t => {
  const world = await UnderlayWorld.start(t)
  // The path of a unix socket has 107 bytes at most.
  const folder = mkdtempSync(join(tmpdir(), 'bird-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  await Promise.all(
    world.nodes.map(async node => {
      const printed = new Agent(t, world, node, ['underlay', '--print', 'bird'])
      const { code, log } = await printed.ended()
      t.equal(code, 0, `the configuration of ${node.name}: ${code === 0 ? 'printed' : log}`)
      const file = join(folder, `${node.name}.conf`)
      writeFileSync(file, log)
      const child = node.machine.start(['bird', '-f', '-c', file, '-s', join(folder, `${node.name}.ctl`)])
      let said = ''
      child.stderr.on('data', text => {
        said += text
      })
      child.once('exit', code => code !== null && t.fail(`bird on ${node.name} has ended: ${said}`))
      t.teardown(() => void child.kill('SIGKILL'))
    }),
  )
  for (const [from, to] of pairsOf(world.nodes)) {
    for (const address of to.podAddresses) await eventually(() => ping(from.pod, address, { seconds: 1 }), 60_000)
  }
  t.match(await world.node('a1').machine.do('ip route'), /10\.2\.1\.0\/24 via 192\.0\.1\.21 dev eth0 proto bird/)
})
