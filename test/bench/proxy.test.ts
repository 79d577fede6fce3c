// The harness of the proxy benchmark: rounds, children, load generators, and a group from start to results.
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { answersDatagrams, Child, stopAll } from '../../bench/process.ts'
import { Place } from '../../bench/proxy/place.ts'
import { program } from '../../bench/proxy/program.ts'
import { alternate, warmUp } from '../../bench/proxy/rounds.ts'
import type { Group } from '../../bench/report/table.ts'

const run = promisify(execFile)
const bench = new URL('../../bench/proxy.ts', import.meta.url).pathname

t.teardown(stopAll)

t.test('rounds alternate direction, and a contender that fails becomes a row with the reason', async t => {
  const asked: string[] = []
  const contenders = [{ name: 'a' }, { name: 'b' }, { name: 'c', samples: [], note: 'is not there' }]
  const rows = await alternate<{ name: string }>(contenders, 3, async ({ name }) => {
    asked.push(name)
    if (name === 'b' && asked.length > 2) throw new Error('has died')
    return { cpuUs: asked.length }
  })
  t.same(asked, ['a', 'b', 'b', 'a', 'a'])
  t.same(rows, [
    { name: 'a', samples: [{ cpuUs: 1 }, { cpuUs: 4 }, { cpuUs: 5 }] },
    { name: 'b', samples: [{ cpuUs: 2 }], note: 'has died' },
    { name: 'c', samples: [], note: 'is not there' },
  ])
})

t.test('one round that is not counted asks each contender that runs, whatever becomes of it', async t => {
  const asked: string[] = []
  const contenders = [{ name: 'a' }, { name: 'b', samples: [], note: 'is not there' }, { name: 'c' }]
  await warmUp<{ name: string }>(contenders, async ({ name }) => {
    asked.push(name)
    throw new Error('has died')
  })
  t.same(asked, ['a', 'c'])
})

t.test('no port is given out twice', async t => {
  const place = new Place(20_000)
  t.teardown(() => place.remove())
  t.same([place.port(), place.port()], [20_000, 20_001])
  t.not(place.folder('nginx'), place.folder('nginx'))
})

t.test('a child that exits before it is ready is an error with its stderr', async t => {
  const complain = ['-e', 'console.error("no such thing"); process.exit(1)']
  await t.rejects(
    Child.start(process.execPath, complain, [], async () => false),
    /no such thing/,
  )
})

const place = new Place(20_010)
t.teardown(() => place.remove())
const skip = compilerMissing()

t.test('a group runs from its backends to its results', { skip }, async t => {
  const folder = t.testdir()
  await run(process.execPath, [
    ...[bench, '--only=udp', '--among=direct; streams alone', '--rounds=1', '--seconds=1'],
    ...['--port=20020', `--results=${folder}`],
  ])
  const { groups } = JSON.parse(readFileSync(join(folder, 'proxy.json'), 'utf8')) as { groups: Group[] }
  t.match(groups, [{ name: 'udp', rounds: 1, seconds: 1, tables: [{ key: 'udp-single' }, { key: 'udp-burst' }] }])
  for (const { rows } of groups[0]?.tables ?? []) {
    const [direct, streams] = rows
    t.ok((direct?.samples[0]?.perSecond ?? 0) > 0)
    t.ok((streams?.samples[0]?.cpuUs ?? 0) > 0)
  }
  t.match(readFileSync(join(folder, 'proxy.md'), 'utf8'), '## Datagrams')
  t.match(readFileSync(join(folder, 'proxy/udp.svg'), 'utf8'), 'streams alone')
})

t.test('a contender that cannot run is a row with the reason, and the others are measured', { skip }, async t => {
  const folder = t.testdir({ bin: {}, results: {} })
  // An nginx without the stream module.
  writeFileSync(join(folder, 'bin/nginx'), '#!/bin/sh\necho "configure arguments: --with-http_ssl_module" >&2\n')
  chmodSync(join(folder, 'bin/nginx'), 0o755)
  const args = ['--only=udp', '--among=direct; nginx', '--rounds=1', '--seconds=1', '--port=20040']
  await run(process.execPath, [bench, ...args, `--results=${folder}/results`], {
    env: { ...process.env, PATH: `${folder}/bin:${process.env.PATH}` },
  })
  const { groups } = JSON.parse(readFileSync(join(folder, 'results/proxy.json'), 'utf8')) as { groups: Group[] }
  for (const { rows } of groups[0]?.tables ?? []) {
    const [direct, nginx] = rows
    t.ok((direct?.samples[0]?.perSecond ?? 0) > 0)
    t.match(nginx, { name: 'nginx', samples: [], note: /without its stream module/ })
  }
  t.equal(groups[0]?.tables.length, 2)
})

t.test('a UDP server is ready once it answers', async t => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  t.teardown(() => socket.close())
  await once(socket, 'listening')
  const { port } = socket.address()
  t.equal(await answersDatagrams(port), false, 'bound, and silent')
  socket.on('message', (message, from) => socket.send(message, from.port, from.address))
  t.equal(await answersDatagrams(port), true)
})

t.test(
  'latency in the open loop counts from when a request was due, so that a stall counts against every request it delays',
  { skip },
  async t => {
    // Answers at once, but blocks for 200 ms at the 100th request, which delays those behind it.
    let asked = 0
    const server = createServer(socket => {
      socket.on('data', () => {
        const stall = ++asked === 100 ? performance.now() + 200 : 0
        while (performance.now() < stall);
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
      socket.on('error', () => {})
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as { port: number }
    const { stdout } = await run(program('open-loop', place), [String(port), '/', '2', '100', '1'])
    const { requests, failed, p50Us, p99Us } = JSON.parse(stdout)
    t.same({ requests, failed }, { requests: 100, failed: 0 })
    t.ok(p50Us < 100_000)
    t.ok(p99Us > 100_000, 'requests waited 200 ms')
  },
)

t.test('datagrams that do not come back are counted as lost', { skip }, async t => {
  const { stdout } = await run(program('datagrams', place), ['ask', '20019', '1', '4', '64', '0.3'])
  const { roundTrips, lost } = JSON.parse(stdout)
  t.equal(roundTrips, 0)
  t.ok(lost >= 8)
})

function compilerMissing(): string | false {
  try {
    return program('datagrams', place) ? false : 'nothing was built'
  } catch (error) {
    return (error as Error).message
  }
}
