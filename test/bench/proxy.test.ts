import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Child, stopAll } from '../../bench/process.ts'
import { Place } from '../../bench/proxy/place.ts'
import { program } from '../../bench/proxy/program.ts'
import { alternate } from '../../bench/proxy/rounds.ts'
import type { Group } from '../../bench/report/table.ts'

const run = promisify(execFile)
const bench = new URL('../../bench/proxy.ts', import.meta.url).pathname

t.teardown(stopAll)

t.test('rounds alternate their direction, and one that fails says why while the others go on', async t => {
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

t.test('a port is given once', async t => {
  const place = new Place(20_000)
  t.teardown(() => place.remove())
  t.same([place.port(), place.port()], [20_000, 20_001])
  t.not(place.folder('nginx'), place.folder('nginx'))
})

t.test('a child that ends before it is ready is an error with its complaint', async t => {
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
  t.match(readFileSync(join(folder, 'proxy-udp.svg'), 'utf8'), 'streams alone')
})

t.test(
  'the open loop counts from when a request was due, so that a stall is charged for all it delays',
  { skip },
  async t => {
    // Answers at once, but stands still for a while at the 100th request: those behind it wait with it.
    const { createServer } = await import('node:net')
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
    t.ok(p99Us > 100_000, 'a fifth of a second of requests waited')
  },
)

t.test('datagrams that nobody sends back are lost, not waited for', { skip }, async t => {
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
