/** What steering works out without the kernel: places of listeners, records, the object file, and words where something is missing. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../../../proxy/config/load.ts'
import { findAddon } from '../../../../proxy/dataplane/native/addon.ts'
import { cgroupRoot, findCgroup, pinFolder } from '../../../../proxy/dataplane/steering/cgroup.ts'
import { linked, readObject } from '../../../../proxy/dataplane/steering/object.ts'
import { forOwnClients, OwnClients } from '../../../../proxy/dataplane/steering/own-clients.ts'
import { PortBook } from '../../../../proxy/dataplane/steering/ports.ts'
import { requireSteering } from '../../../../proxy/dataplane/steering/preflight.ts'
import * as records from '../../../../proxy/dataplane/steering/records.ts'
import { Steering } from '../../../../proxy/dataplane/steering/steering.ts'
import { parseCidr } from '../../../../proxy/model/address.ts'
import { silentLog } from '../../../../proxy/model/log.ts'
import { validate } from '../../../../proxy/runtime.ts'
import { FakeChooser } from '../../../support/chooser.ts'
import { FakeClock } from '../../../support/clock.ts'
import { backend, globalService } from '../../../support/model.ts'

t.test('each frontend has a port of its own, the same after a restart', async t => {
  const keys = Array.from({ length: 6000 }, (_, i) => `10.96.${i >> 8}.${i & 255}:80/TCP`)
  const book = new PortBook()
  const ports = keys.map(key => book.take(key))
  t.equal(new Set(ports).size, keys.length, 'none is given twice')
  t.ok(ports.every(port => port !== undefined && port >= 20_000 && port < 65_500))
  t.same(
    keys.map(key => book.take(key)),
    ports,
    'it stays',
  )
  const first = keys[0] as string
  t.equal(new PortBook().take(first), ports[0], 'the same in another process')
  const other = book.take(first, ports[0])
  t.not(other, ports[0], 'another one where that is in use')
  t.equal(book.take(first), other)

  const next = new PortBook()
  next.prefer(first, 23_456)
  t.equal(next.take(first), 23_456, 'that of the process before')
  const crowded = new PortBook()
  crowded.prefer('10.0.0.1:1/TCP', ports[0] as number)
  t.not(crowded.take(first), ports[0], 'which another one does not get')
  crowded.forgetBefore()
  crowded.release(first)
  t.equal(crowded.take(first), ports[0], 'until it is known that nobody wants it')

  const full = new PortBook([
    [100, 103],
    [7, 8],
  ])
  const all = ['a', 'b', 'c', 'd', 'e'].map(key => full.take(key))
  t.same(all.slice(0, 3).toSorted(), [100, 101, 102])
  t.same(all.slice(3), [7, undefined])
})

t.test('records are those of the kernel', async t => {
  const place = records.placeRecord({ address: '10.96.0.10', port: 80, protocol: 'TCP' })
  t.equal(place.toString('hex'), '00000000000000000000ffff0a60000a00500600')
  t.equal(
    records.placeRecord({ address: 'fd00::1', port: 53, protocol: 'UDP' }).toString('hex'),
    'fd00000000000000000000000000000100351100',
  )
  for (const one of [
    { address: '10.96.0.10', port: 80, protocol: 'TCP' as const },
    { address: 'fd00::1', port: 53, protocol: 'UDP' as const },
  ])
    t.same(records.readPlace(records.placeRecord(one)), one)
  const listener = { address: '127.0.0.1', port: 61_000, protocol: 'TCP' as const }
  const frontend = { listener, id: 7, list: 2 ** 31, count: 3 }
  t.same(records.readFrontend(records.frontendRecord(frontend)), frontend)
})

const found = findAddon()
const object = 'addon' in found ? found.addon.kernel?.object : undefined
const noObject = object ? false : 'the addon was not built here, or without clang'
t.test('the object file: programs, maps, and where their descriptors belong', { skip: noObject }, async t => {
  const { maps, programs, license } = readObject(object as Buffer)
  t.same([...programs.keys()].sort(), [
    ...['connect4', 'connect6', 'getpeername4', 'getpeername6'],
    ...['recvmsg4', 'recvmsg6', 'sendmsg4', 'sendmsg6'],
  ])
  t.equal(license, 'Apache-2.0')
  t.match(maps.get('frontends'), { type: 1, keySize: records.placeBytes, valueSize: records.frontendBytes })
  const connect = programs.get('connect4')
  if (!connect) throw new Error('there is no connect4')
  const code = linked(connect, name => [...maps.keys()].indexOf(name) + 100)
  for (const { at, name } of connect.maps) {
    t.equal(code[at], 0x18, `${name}: an instruction that loads 64 bits`)
    t.equal((code[at + 1] as number) >> 4, 1, 'of a map')
    t.equal(code.readInt32LE(at + 4), [...maps.keys()].indexOf(name) + 100)
  }
})

t.test('what is missing is said, with the remedy', async t => {
  const v1 = '30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n'
  t.equal(cgroupRoot(v1), undefined, 'cgroup v1 alone')
  t.equal(
    cgroupRoot(`${v1}31 25 0:27 / /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw\n`),
    '/sys/fs/cgroup/uni fied',
  )
  t.throws(() => findCgroup('/proc'), { code: 'OFFLOAD', message: /\/proc is no cgroup v2; give a folder/ })
  t.throws(() => findCgroup('/nowhere'), { code: 'OFFLOAD', message: /\/nowhere cannot be read/ })
  t.throws(() => pinFolder('/tmp', 'x'), { code: 'OFFLOAD', message: /\/tmp is no bpffs; mount it \(mount -t bpf/ })
  t.throws(
    () => requireSteering({ why: 'it was not built' }),
    /needs the addon: it was not built; run `npm run build:native`/,
  )
  const kernel = { why: 'there was no clang when it was built' } as never
  t.throws(
    () => requireSteering({ addon: { kernel } }),
    /no programs for the kernel: there was no clang.*; install clang/,
  )
  t.throws(() => requireSteering({ addon: {} }), /sources of another version/)

  const options = { listen: ['127.0.0.1'], cgroup: undefined, pin: undefined, direct: false }
  const steering = new Steering({
    ...{ options, kernel, drainMs: () => 0, onListener: () => {} },
    ...{ clock: new FakeClock(), log: silentLog },
  })
  await steering.start()
  t.notOk(steering.active, 'Starlane goes on without it')
  t.match(steering.problems(), [{ code: 'OFFLOAD', severity: 'error', message: /no clang/ }])
  t.throws(
    () =>
      steering.placeOf({ key: '[fd00::1]:80/TCP', ip: 'fd00::1', port: 80, protocol: 'TCP', service: 'a/b' } as never),
    {
      code: 'LISTEN',
      message: /no IPv6 address; add one to proxy\.ebpf\.listen/,
    },
  )
})

t.test('validate says what this machine lacks', async t => {
  const folder = t.testdir({})
  mkdirSync(join(folder, 'one'))
  const file = join(folder, 'starlane.yaml')
  const write = (proxy: string) =>
    writeFileSync(file, `cluster: one\nclusters: { name: one, id: 1, source: { manifests: ./one } }\nproxy: ${proxy}\n`)
  write('{ offload: ebpf, ebpf: { cgroup: /proc } }')
  const { problems } = await validate(await loadConfig(file, {}), {})
  t.match(
    problems.filter(({ code }) => code === 'OFFLOAD'),
    [{ where: 'proxy.offload', message: /no cgroup v2|no programs for the kernel|needs the addon/ }],
  )
  for (const [proxy, message] of [
    ['{ offload: ebpf, anyip: true }', /proxy\.anyip.*cannot be combined/s],
    ['{ offload: ebpf, nftables: guard }', /proxy\.nftables.*cannot be combined/s],
    ['{ offload: ebpf, ebpf: { listen: [127.0.0.1, 127.0.0.2] } }', /two addresses of one IP family/],
    ['{ offload: ebpf, ebpf: { listen: [0.0.0.0] } }', /is not an address of one machine/],
    ['{ offload: ebpf, ebpf: { listen: [10.0.0.1, "::1"] } }', /addresses of one kind/],
    ['{ offload: ebpf, ebpf: { pin: relative } }', /neither none nor a path/],
  ] as const) {
    write(proxy)
    await t.rejects(loadConfig(file, {}), { message }, proxy)
  }
})

t.test('listeners on an address of the node serve its own programs and pods alone', async t => {
  const clock = new FakeClock()
  const machine = new Set(['127.0.0.1', '10.0.0.5'])
  let pods = ['10.1.3.0/24']
  const more = [parseCidr('192.168.9.0/24')].flatMap(range => range ?? [])
  const clients = new OwnClients({ machine: () => machine, pods: () => pods, more, clock })
  t.same(
    ['10.0.0.5', '10.1.3.7', '192.168.9.1', '10.1.4.7', '10.0.0.6'].map(address => clients.has(address)),
    [true, true, true, false, false],
  )
  pods = ['10.1.4.0/24']
  await clock.advance(10_000)
  t.same(
    ['10.1.3.7', '10.1.4.7'].map(address => clients.has(address)),
    [false, true],
    'by what the node is now',
  )
  const chosen = backend({ address: '10.0.0.7' })
  const fake = new FakeChooser()
  fake.decide = () => ({ backend: chosen })
  const chooser = forOwnClients(fake, clients)
  const service = globalService({ backends: [chosen] })
  const flow = (address: string) => ({
    id: 1,
    client: { address, port: 1 },
    service,
    frontend: service.frontends[0] as never,
    tried: [],
  })
  t.same(chooser.choose(flow('10.1.4.7')), { backend: chosen })
  t.match(chooser.choose(flow('10.9.9.9')), { refusal: { code: 'foreign', why: /proxy\.ebpf\.clients/ } })
})
