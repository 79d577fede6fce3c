/** `starlane observe` against Starlanes that run: filters, following, several processes, and the file that it records. */
import assert from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { FlowEvent } from '../../../proxy/model/flow-record.ts'
import { runLine, startLine } from '../../proxy/cli/stage.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod } from '../../support/world.ts'

async function world(t: Test, node: string) {
  const world = await createWorld(t, { env: { NODE_NAME: node }, config: { health: { active: { type: 'none' } } } })
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  await world.declare('cluster-1', { name: 'dead', clusterIP: world.ip(2), pods: [{ ip: world.ip(12) }] })
  const { admin } = await (await world.start()).ready
  return { ...world, admin }
}

/** A connection that stays open. */
async function hold(t: Test, host: string): Promise<Socket> {
  const socket = connect(7000, host)
  t.teardown(() => socket.destroy())
  await new Promise<void>((resolve, reject) => socket.once('data', () => resolve()).once('error', reject))
  return socket
}

t.test('observe shows what has passed, by filters', async t => {
  const { admin, ip, resolve } = await world(t, 'node-1')
  const run = (line: string) => runLine(['observe', ...line.split(' ').filter(Boolean), '--admin', admin])
  t.equal(await ask(ip(1)), 'one')
  await t.rejects(ask(ip(2)))
  await resolve('rebel-base.default.svc.cluster.local')
  const connection = new RegExp(
    `^\\S+ 127\\.0\\.0\\.1:\\d+ -> default/rebel-base -> cluster-1/${ip(11)}:8000 forwarded [\\d.]+ms, 0 B up, 4 B down, `,
    'm',
  )
  const seen = await eventually(async () => {
    const seen = await run('')
    assert.match(seen.out, connection)
    return seen
  })
  t.match(seen, { code: 0, err: '', out: /default\/dead -> cluster-1\/\S+:8000 failed no-backend: / })
  t.match(seen.out, /127\.0\.0\.1 DNS A rebel-base\.default\.svc\.cluster\.local\. forwarded NOERROR 127\.\S+, /)
  const lines = async (line: string) => (await run(line)).out.split('\n').length - 1
  t.equal(await lines('--service rebel-base'), 2)
  t.equal(await lines('--service rebel-base dead --verdict failed'), 1)
  t.equal(await lines('--code no-backend tenancy'), 1)
  t.equal(await lines('--code tenancy'), 0)
  t.equal(await lines('--dns'), 1)
  t.equal(await lines('-n default --last 2'), 2)
  t.equal(await lines('-n shop'), 0)
  t.equal(await lines(`--to ${ip(11)} --since 5m`), 1)
  const [json = ''] = (await run('--verdict failed -o json')).out.split('\n')
  t.match(JSON.parse(json), { node_name: 'node-1', flow: { verdict: 'ERROR', starlane: { service: 'default/dead' } } })
  t.match((await run('--kind connection -o wide')).out, /^TIME +NODE +CLIENT .*\n\S+ +node-1 +127\.0\.0\.1:/)
  t.match(await run('--verdict refusd'), { code: 2, err: /verdict=refusd is not one.*refused/ })
  t.match(await run('--last 1 --since 5m'), { code: 2, err: /cannot be used with/ })
})

t.test('observe -f shows a flow when it opens and when it ends, and ends with Ctrl-C', async t => {
  const { admin, ip } = await world(t, 'node-1')
  const { said, ended, signal } = startLine(['observe', '-f', '--service', 'rebel-base', '--admin', admin])
  const until = (wanted: RegExp) => eventually(() => assert.match(said.out, wanted))
  // The stream may open after the first flow.
  await eventually(async () => {
    await ask(ip(1))
    assert.match(said.out, /forwarded/)
  })
  const socket = await hold(t, ip(1))
  const from = `127.0.0.1:${socket.localPort}`
  await until(new RegExp(`${from} -> \\S+ -> \\S+ forwarded open`))
  socket.destroy()
  await until(new RegExp(`${from} -> \\S+ -> \\S+ forwarded \\S+, 0 B up, 4 B down, `))
  signal('SIGINT')
  t.match(await ended, { code: 0, err: '' })
})

t.test('--record writes what passes to a file, as JSON lines', async t => {
  const { admin, ip } = await world(t, 'node-1')
  const file = join(t.testdir(), 'flows.jsonl')
  const { ended, signal } = startLine(['observe', '-f', '--record', file, '--admin', admin])
  await eventually(async () => {
    await ask(ip(1))
    assert.match(readFileSync(file, 'utf8'), /"verdict":"FORWARDED"/)
  })
  signal('SIGTERM')
  const { code, out, err } = await ended
  t.same({ code, out }, { code: 0, out: '' })
  t.match(err, /^recorded \d+ flows? to .*flows\.jsonl\n$/)
  const events = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as FlowEvent)
  t.match(events[0], { flow: { uuid: /./, starlane: { service: 'default/rebel-base' } } })
  const nowhere = await runLine(['observe', '--record', join(file, 'x'), '--admin', admin])
  t.match(nowhere, { code: 2, err: /--record .* cannot be written/ })
})

t.test('several processes are merged by time; one that does not answer is named', async t => {
  const [one, two] = [await world(t, 'node-1'), await world(t, 'node-2')]
  for (const each of [one, two, one]) {
    await ask(each.ip(1))
    await eventually(async () => {
      const { out } = await runLine(['observe', '--admin', each.admin])
      assert.match(out, /B down/)
    })
  }
  const { code, out, err } = await runLine([
    'observe',
    '-o',
    'json',
    '--admin',
    `${one.admin},127.0.0.1:1,${two.admin}`,
  ])
  t.equal(code, 0)
  t.match(err, /^starlane: 127\.0\.0\.1:1: no Starlane answers/)
  const nodes = out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).node_name)
  t.same(nodes, ['node-1', 'node-2', 'node-1'])
  t.match(await runLine(['observe', '--admin', '127.0.0.1:1,127.0.0.1:2']), { code: 1, err: /127\.0\.0\.1:2/ })

  const port = one.admin.split(':')[1]
  t.match(await runLine(['observe', '--admin', `dns:localhost:${port}`]), { code: 0, out: /rebel-base/ })
  t.match(await runLine(['observe', '--admin', 'dns:nowhere.invalid']), {
    code: 1,
    err: /nowhere\.invalid has no address/,
  })

  const both = startLine(['observe', '-f', '-o', 'json', '--admin', `${one.admin},${two.admin}`])
  await eventually(async () => {
    for (const each of [one, two]) await ask(each.ip(1))
    for (const node of ['node-1', 'node-2']) assert.match(both.said.out, new RegExp(node))
  })
  both.signal('SIGINT')
  t.equal((await both.ended).code, 0)
})

t.test('--all asks the Pods with the label, through kubectl port-forward', async t => {
  const { admin, ip } = await world(t, 'node-1')
  await ask(ip(1))
  // Does what kubectl does for these two commands; the second Pod cannot be reached.
  const folder = t.testdir()
  const pods = ['starlane-a', 'starlane-b'].map(name => ({ metadata: { namespace: 'starlane', name } }))
  writeFileSync(join(folder, 'pods.json'), JSON.stringify({ items: pods }))
  writeFileSync(
    join(folder, 'kubectl'),
    `#!/bin/sh
echo "$*" >> ${folder}/said
case "$*" in
  *get\\ pods*) cat ${folder}/pods.json;;
  *starlane-a*) echo "Forwarding from ${admin} -> 9911"; exec sleep 100;;
  *) echo "error: unable to forward port" >&2; exit 1;;
esac
`,
  )
  chmodSync(join(folder, 'kubectl'), 0o755)
  const path = process.env.PATH
  t.teardown(() => {
    process.env.PATH = path
  })
  process.env.PATH = `${folder}:${path}`
  const seen = await eventually(async () => {
    const seen = await runLine(['observe', '--all', '--context', 'kind-1'])
    assert.match(seen.out, /rebel-base/)
    return seen
  })
  t.match(seen, {
    code: 0,
    err: /^starlane: starlane\/starlane-b: kubectl port-forward: error: unable to forward port\n/,
  })
  const said = readFileSync(join(folder, 'said'), 'utf8')
  t.match(said, /--context kind-1 get pods --all-namespaces -l starlane\.dev\/component /)
  t.match(said, /--context kind-1 port-forward -n starlane pod\/starlane-a :9911/)
  writeFileSync(join(folder, 'pods.json'), '{"items":[]}')
  t.match(await runLine(['observe', '--all']), { code: 1, err: /no running Pod in the current context has the label/ })
  process.env.PATH = '/nonexistent'
  t.match(await runLine(['observe', '--all']), { code: 1, err: /kubectl is not installed/ })
})

t.test('another server than a Starlane is told from one', async t => {
  const server = createServer(socket =>
    socket.on('error', () => {}).end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'),
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  t.match(await runLine(['observe', '--admin', `127.0.0.1:${port}`]), { code: 1, err: /did not answer with JSON/ })
})
