/** `starlane top` and `starlane stat` against Starlanes that run. */
import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { runLine, startLine } from '../../proxy/cli/stage.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod } from '../../support/world.ts'

async function busy(t: Test) {
  const world = await createWorld(t, { config: { health: { active: { type: 'none' } } } })
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  await world.declare('cluster-1', {
    name: 'a-service-with-a-very-long-name-that-does-not-fit',
    clusterIP: world.ip(2),
    pods: [{ ip: world.ip(12) }],
  })
  const { admin } = await (await world.start()).ready
  for (let i = 0; i < 5; i++) await ask(world.ip(1))
  await t.rejects(ask(world.ip(2)))
  return admin
}

t.test('stat shows services, clusters and clients within 80 columns', async t => {
  const admin = await busy(t)
  const run = (line: string) => runLine([...line.split(' '), '--admin', admin], { columns: 80 })
  const services = await eventually(async () => {
    const seen = await run('stat')
    assert.match(seen.out, /^default\/rebel-base +(?!0 )[\d.]+ +0 +0% +0% /m)
    return seen
  })
  t.equal(services.code, 0)
  t.match(services.out, /^SERVICE +CONN\/S +OPEN +FAILED +REFUSED +P99 +SENT\/S +RECV\/S\n/)
  t.match(services.out, /^default\/a-service-with-a-.*… +0 +0 +100% +100% +- /m)
  for (const line of services.out.split('\n')) t.ok(line.length <= 80, `${line.length}: ${line}`)
  t.match((await run('stat -o wide')).out, /^default\/rebel-base .*\n {2}cluster-1 +(?!0 )[\d.]+ /m)
  t.match((await run('stat clusters')).out, /^CLUSTER .*\ncluster-1 /)
  t.match(
    (await run('stat clients')).out,
    /^CLIENT .*\n127\.0\.0\.1 +[\d.]+ +0 +17% +0% +0 B +20 B +default\/rebel-base\n/,
  )
  t.match((await run('stat -n shop')).out, 'No services have had traffic yet.\n')
  t.match((await run('stat --sort failed')).out, /REFUSED[^\n]*\ndefault\/a-service/)
  t.match(JSON.parse((await run('stat -o json')).out), { services: [{ name: 'rebel-base' }, {}], clusters: [{}] })
  t.match((await run('stat -o yaml')).out, /^services:\n {2}- namespace: default\n/m)
  t.match(await run('stat pods'), { code: 2, err: /services, clusters, clients/ })
  t.match((await run('top')).out, /^SERVICE /, 'without a terminal top prints once')
})

t.test('top refreshes in place until Ctrl-C, and adds up processes', async t => {
  const [one, two] = [await busy(t), await busy(t)]
  const line = ['top', '--interval', '0.2', '--admin', `${one},${two}`]
  const { said, ended, signal } = startLine(line, { isTTY: true, columns: 80 })
  await eventually(() => assert.equal(said.out.split('\x1b[H').length > 3, true))
  signal('SIGINT')
  const { code, out } = await ended
  t.equal(code, 0)
  t.match(
    out.replaceAll('\x1b', 'ESC'),
    /^ESC\[Hstarlane top services, 2 processes, \d\d:\d\d:\d\d UTC; Ctrl-C ends itESC\[K\n/,
  )
  t.equal(out.split('\x1b[H')[1]?.match(/rebel-base/g)?.length, 1)
  t.match(await runLine(['top', '--interval', 'x', '--admin', one]), { code: 2, err: /--interval x is not/ })
})
