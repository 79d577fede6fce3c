/** `starlane mesh` with a real etcd: init, join, rights of each user, tenants, cache, doctor. */
import { EventEmitter } from 'node:events'
import { writeFileSync } from 'node:fs'
import { copyFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { meshCommand } from '../../../../proxy/cli/mesh/command.ts'
import { decodeToken } from '../../../../proxy/cli/mesh/token.ts'
import { heartbeatKey } from '../../../../proxy/clients/clustermesh.ts'
import { connectEtcd } from '../../../../proxy/clients/etcd/connect.ts'
import { silentLog } from '../../../../proxy/model/log.ts'
import { systemClock } from '../../../../proxy/model/time/clock.ts'
import { createPublisher } from '../../../../proxy/publish/publisher.ts'
import { createEtcdSource } from '../../../../proxy/sources/etcd/etcd-source.ts'
import { issue } from '../../../../proxy/tunnel/enrolment/authority.ts'
import { RecordingSink, until } from '../../../conformance/source.ts'
import { folder, freePort, noEtcd, startEtcd } from '../../../support/etcd/etcd.ts'
import { clusterService, endpoint } from '../../../support/model.ts'

const parts = { clock: systemClock, random: Math.random, log: silentLog }

const tokenIn = /^ {2}(starlane-etcd\.\S+)$/m

/** Runs `starlane mesh …` in this process. */
async function mesh(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' }
  let code = -1
  const io = {
    stdout: { write: (text: string) => (said.out += text) },
    stderr: { write: (text: string) => (said.err += text) },
    env: {},
    clock: systemClock,
    process: new EventEmitter(),
  }
  const command = meshCommand(io, ended => {
    code = ended
  })
  for (const each of [command, ...command.commands]) each.exitOverride().configureOutput({ writeErr: () => {} })
  await command.parseAsync(argv, { from: 'user' })
  return { code, ...said }
}

t.test('from nothing to a cluster that another one reads', { skip: noEtcd }, async t => {
  const own = join(await folder(t), 'mesh')
  const peers = await folder(t)
  const port = await freePort()
  const url = `https://127.0.0.1:${port}`
  const init = () => mesh('init', '--cluster', 'north', '--id', '5', '--endpoint', url, '--peer', 'south', '--dir', own)

  const before = await init()
  t.equal(before.code, 1)
  t.match(
    before.err,
    /rights in etcd are not set yet: .*ECONNREFUSED.*\nWhen etcd runs, run "starlane mesh init --dir /,
  )
  t.match(before.out, /--client-cert-auth --trusted-ca-file=.*ca\.crt \\\n.*--cert-file=.*server\.crt/)
  const named =
    /etcd --name=north --initial-cluster-token=north-(\w{8}) .*\n.*--initial-cluster=north=http:\/\/127\.0\.0\.1:2380 /
  t.match(before.out, named, 'not the defaults, with which every etcd has the same cluster id')
  t.not(named.exec((await init()).out)?.[1], named.exec(before.out)?.[1], 'an etcd without its data is another one')
  t.equal((await stat(join(own, 'ca.key'))).mode & 0o077, 0, 'keys are for their owner alone')

  const certificates = { folder: own, ca: join(own, 'ca.crt') }
  const admin = { ca: certificates.ca, cert: join(own, 'admin-north.crt'), key: join(own, 'admin-north.key') }
  const etcd = await startEtcd(t, { certificates: { ...certificates, client: async () => admin }, port })
  t.match((await init()).out, /south gets a token when it has made a key.*starlane mesh request .*--request FILE/s)
  t.match((await mesh('request', '--dir', peers)).out, /The request is .*request\.csr; its key stays beside it/)
  const request = ['--peer', 'south', '--request', join(peers, 'request.csr')]
  const after = await mesh('init', '--dir', own, ...request)
  t.equal(after.code, 0, after.err)
  const [, token = ''] = tokenIn.exec(after.out) ?? []
  t.match(decodeToken(token), { cluster: 'north', id: 5, endpoints: [url] })
  t.notMatch(Buffer.from(token.slice(token.indexOf('.') + 1), 'base64url').toString(), /PRIVATE/, 'it holds no key')
  t.notOk((await readdir(own)).includes('remote-south.key'), 'nor has anybody but south one')
  t.match(after.out, /publish:\n {2}endpoints: \[https:.*\n {2}ca: .*\n {2}cert: .*publisher-north.crt/)
  const again = await mesh('init', '--dir', own)
  t.equal(again.code, 0, 'it can be done again, and need not be told again')
  t.equal(tokenIn.exec(again.out)?.[1], token)
  const elsewhere = await folder(t)
  await writeFile(join(own, 'token'), `${token}\n`)
  await t.rejects(mesh('join', '--token-file', join(own, 'token'), '--dir', elsewhere), {
    code: 'USAGE',
    message: /the certificate in the token is for no key in .*run "starlane mesh request --dir/,
  })

  await writeFile(join(own, 'token'), `${token}\n`)
  const joined = await mesh('join', '--token-file', join(own, 'token'), '--dir', peers)
  t.match(joined.out, /name: north\n {4}id: 5\n {4}source: \{ etcd: \{ config: .*north \} \}/)
  const file = join(peers, 'north')
  const early = await mesh('doctor', 'north', '--dir', peers)
  t.equal(early.code, 1)
  t.match(early.out, /✓ user: .*\n {2}✗ cluster: cilium\/cluster-config\/north is missing/)

  const publisherFiles = {
    ca: certificates.ca,
    cert: join(own, 'publisher-north.crt'),
    key: join(own, 'publisher-north.key'),
  }
  const asPublisher = { endpoints: [url], ...publisherFiles }
  const publisher = createPublisher(
    {
      ...{ cluster: 'north', clusterId: 5, slices: false, leaseMs: 60_000, writesPerSecond: 100 },
      tenants: new Map([['blue', ({ namespace }: { namespace: string }) => namespace === 'blue']]),
    },
    { ...parts, open: signal => connectEtcd(asPublisher, { ...parts, probe: heartbeatKey, signal }) },
  )
  t.teardown(() => publisher.close())
  const blue = clusterService({
    cluster: 'north',
    namespace: 'blue',
    name: 'till',
    endpoints: [endpoint({ address: '10.0.0.1', node: 'n1' })],
  })
  publisher.reset([clusterService({ cluster: 'north' }), blue])
  publisher.start()
  const sink = new RecordingSink()
  const source = createEtcdSource({ cluster: 'north', id: 5, config: file }, parts)
  t.teardown(() => source.close())
  await until(() => publisher.state().state === 'publishing' && publisher.state().pending === 0, 'published')
  source.start(sink)
  await until(
    () => sink.services.has('default/rebel-base'),
    () => `read (${sink.error?.message})`,
  )

  await t.test('reader and publisher have only the rights they need', async t => {
    const reader = await connectEtcd(
      {
        endpoints: [url],
        ca: join(peers, 'north.etcd-client-ca.crt'),
        cert: join(peers, 'north.etcd-client.crt'),
        key: join(peers, 'north.etcd-client.key'),
      },
      { ...parts, probe: heartbeatKey },
    )
    t.teardown(() => reader.close())
    const writer = await connectEtcd(asPublisher, { ...parts, probe: heartbeatKey })
    t.teardown(() => writer.close())
    const denied = { message: /permission denied/ }
    const key = (cluster: string) => `cilium/state/services/v1/${cluster}/default/x`
    await t.resolves(reader.get(key('north')))
    await t.rejects(reader.get(key('other')), denied, 'another tenant is not to be seen at all')
    await t.rejects(reader.get(key('north1')), denied)
    await t.rejects(reader.write([{ key: key('north'), gone: true }], 0n), denied)
    await t.rejects(writer.get(key('other')), denied)
    await t.rejects(writer.write([{ key: key('other'), value: Buffer.from('x') }], 0n), denied)
  })

  await t.test('a tenant sees its own services through a normal reader, and nothing else of the store', async t => {
    const folderOfBlue = await folder(t)
    await mesh('request', '--dir', folderOfBlue)
    const request = ['--request', join(folderOfBlue, 'request.csr')]
    const made = await mesh('init', '--dir', own, '--peer', 'till', '--tenant', 'blue', ...request)
    t.equal(made.code, 0, made.err)
    t.match(made.out, /The token for till \(reads the services of tenant blue\)/)
    t.match(made.out, / {2}tenants: \{ blue: \["NAMESPACE\/\*"\] \}/)
    const [, forBlue = ''] = tokenIn.exec(made.out) ?? []
    await writeFile(join(own, 'token'), forBlue)
    const joined = await mesh('join', '--token-file', join(own, 'token'), '--dir', folderOfBlue)
    t.match(joined.out, /name: north--blue\n {4}id: 5\n/)
    const config = join(folderOfBlue, 'north--blue')
    const seen = new RecordingSink()
    const view = createEtcdSource({ cluster: 'north--blue', id: 5, config }, parts)
    t.teardown(() => view.close())
    view.start(seen)
    await until(
      () => seen.link === 'live',
      () => `live (${seen.error?.message})`,
    )
    t.match([...seen.services.values()], [{ cluster: 'north--blue', namespace: 'blue', name: 'till' }])
    await until(() => view.facts?.().nodes === 1, 'and the node that it runs on')
    t.equal((await mesh('doctor', '--dir', folderOfBlue)).code, 0)

    const pem = (ending: string) => join(folderOfBlue, `north--blue.etcd-client${ending}`)
    const files = { ca: pem('-ca.crt'), cert: pem('.crt'), key: pem('.key') }
    const reader = await connectEtcd({ endpoints: [url], ...files }, { ...parts, probe: heartbeatKey })
    t.teardown(() => reader.close())
    const denied = { message: /permission denied/ }
    for (const prefix of [
      ...['nodes', 'services', 'endpointslices', 'serviceexports'].map(each => `cilium/state/${each}/v1/north/`),
      ...['cilium/state/identities/v1/id/', 'cilium/state/ip/v1/default/', 'cilium/synced/north/'],
      ...['cilium/cache/services/v1/', 'cilium/cache/services/v1/north--red/', 'cilium/cluster-config/', 'cilium/'],
    ]) {
      await t.rejects(reader.count(prefix), denied, prefix)
    }
    await t.resolves(reader.count('cilium/cache/services/v1/north--blue/'))
    await t.rejects(reader.get('cilium/cluster-config/north'), denied)
    const mine = 'cilium/cache/services/v1/north--blue/blue/till'
    await t.rejects(reader.write([{ key: mine, gone: true }], 0n), denied)
    const watching = await connectEtcd({ endpoints: [url], ...files }, { ...parts, probe: heartbeatKey })
    t.teardown(() => watching.close())
    const refusal = new Promise<Error>(refused => {
      watching.watch(
        { key: 'cilium/state/', rangeEnd: 'cilium/state0', revision: 1 },
        { changed: () => t.fail('it sees something'), compacted: () => {}, refused },
      )
    })
    t.match((await refusal).message, /a watch was refused: .*permission denied/)

    publisher.put({ ...blue, endpoints: [] })
    publisher.put(clusterService({ cluster: 'north', namespace: 'red', name: 'secret' }))
    await until(() => seen.services.get('blue/till')?.endpoints.length === 0, 'changes come')
    t.same([...seen.services.keys()], ['blue/till'])
    publisher.drop('red', 'secret')
    t.match(
      (await mesh('init', '--dir', own, '--peer', 'till')).out,
      /reads the services of tenant blue/,
      'it stays a tenant',
    )

    const dismissed = await mesh('dismiss', 'till', '--dir', own)
    t.match(dismissed, { code: 0, out: /till may no longer read north\..*until its connection ends/s })
    t.match((await mesh('doctor', '--dir', folderOfBlue)).out, /✗ user: .*permission denied.*mesh init --peer/)
    t.equal((await mesh('dismiss', 'till', '--dir', own)).code, 1)
  })

  await t.test('a reader with rights for services only reads services', async t => {
    const user = 'narrow'
    await issue({ file: join(own, 'ca') }, { file: join(own, user), name: user, days: 1 })
    await etcd.ctl('role', 'add', user)
    for (const key of ['cilium/.heartbeat', 'cilium/cluster-config/north']) {
      await etcd.ctl('role', 'grant-permission', user, 'read', key)
    }
    for (const prefix of ['cilium/synced/north/', 'cilium/state/services/v1/north/']) {
      await etcd.ctl('role', 'grant-permission', user, 'read', prefix, '--prefix')
    }
    await etcd.ctl('user', 'add', user, '--no-password')
    await etcd.ctl('user', 'grant-role', user, user)
    const files = { ca: certificates.ca, cert: join(own, `${user}.crt`), key: join(own, `${user}.key`) }
    const narrow = new RecordingSink()
    const reading = createEtcdSource({ cluster: 'north', endpoints: [url], ...files }, parts)
    t.teardown(() => reading.close())
    reading.start(narrow)
    await until(
      () => narrow.services.size === 2,
      () => `reads (${narrow.error?.message})`,
    )
    publisher.put(clusterService({ cluster: 'north', name: 'later' }))
    await until(() => narrow.services.size === 3, 'and goes on')
    publisher.drop('default', 'later')
    t.notOk(narrow.calls.includes('lost'))
    t.equal(reading.facts?.().nodes, 0)
  })

  await t.test('a cache: its publisher may write it, its readers read it, and nothing else', async t => {
    const made = await mesh('init', '--dir', own, '--cache')
    t.match(made, { code: 0, out: / {2}cache: true +# local readers use .*local-north\.crt and \.key/ })
    t.match((await mesh('init', '--dir', own)).out, /cache: true/, 'it is remembered')
    const local = { ca: certificates.ca, cert: join(own, 'local-north.crt'), key: join(own, 'local-north.key') }
    const reader = await connectEtcd({ endpoints: [url], ...local }, { ...parts, probe: heartbeatKey })
    t.teardown(() => reader.close())
    const writer = await connectEtcd(asPublisher, { ...parts, probe: heartbeatKey })
    t.teardown(() => writer.close())
    const key = 'cilium/cache/services/v1/east/shop/cart'
    await t.resolves(writer.write([{ key, value: Buffer.from('x') }], 0n))
    t.equal(await reader.count('cilium/cache/services/v1/east/'), 1)
    await t.resolves(reader.count('cilium/synced/east/'))
    const denied = { message: /permission denied/ }
    await t.rejects(reader.count('cilium/state/services/v1/north/'), denied)
    await t.rejects(reader.write([{ key, gone: true }], 0n), denied)
    await writer.write([{ key, gone: true }], 0n)
  })

  await t.test('status and doctor', async t => {
    await until(() => publisher.state().pending === 0, 'published')
    t.match(await mesh('status', '--dir', peers), { code: 0, out: /^north: OK: 2 services, 0 endpointslices, 0 nodes/ })
    const { code, out } = await mesh('doctor', '--dir', peers)
    t.equal(code, 0, out)
    t.match(out, /✓ certificate: https:.* shows the certificate "CN=server", valid until/)
    t.match(out, /✓ cluster: north has the id 5, writes services into its own store; last heartbeat 20/)

    const broken = await folder(t)
    for (const name of await readdir(peers)) await copyFile(join(peers, name), join(broken, name))
    const write = (endpoint: string, ca: string) =>
      writeFile(
        join(broken, 'north'),
        `endpoints: ["${endpoint}"]\ntrusted-ca-file: ${ca}\ncert-file: north.etcd-client.crt\nkey-file: north.etcd-client.key\n`,
      )
    const doctor = async () => (await mesh('doctor', 'north', '--dir', broken)).out
    await write('https://127.0.0.1:1', 'north.etcd-client-ca.crt')
    t.match(await doctor(), /✗ port: 127\.0\.0\.1:1: .*ECONNREFUSED/)
    await write(`https://localhost.invalid:${port}`, 'north.etcd-client-ca.crt')
    t.match(await doctor(), /✗ name: .*localhost\.invalid/)
    await mesh(
      'init',
      '--cluster',
      'x',
      '--id',
      '1',
      '--endpoint',
      'https://127.0.0.1:1',
      '--dir',
      join(broken, 'Other'),
    ).catch(() => {})
    await write(url, 'Other/ca.crt')
    t.match(await doctor(), /✗ certificate: .*Other\/ca\.crt does not trust/)
    await write(url, 'nowhere.crt')
    t.match(await doctor(), /✗ files: .*nowhere\.crt/)
    t.match(await mesh('status', '--dir', broken), { code: 1, out: /^north: cannot be read: .*nowhere/ })
  })

  t.equal((await mesh('leave', 'north', '--dir', peers)).code, 0)
  t.same((await readdir(peers)).sort(), ['request.csr', 'request.key'])
  t.equal((await mesh('leave', 'north', '--dir', peers)).code, 1)
  t.ok(etcd.url)
})

t.test('wrong usage', async t => {
  const files = t.testdir()
  let count = 0
  const tokenFile = (text: string) => {
    const file = join(files, `${count++}`)
    writeFileSync(file, text)
    return file
  }
  const wrong: [argv: string[], why: RegExp][] = [
    [['join', 'starlane-etcd.abc'], /a token is not taken from the command line/],
    [['join', '--token-file', tokenFile('starlane-etcd.abc')], /not a token, or only a part/],
    [['join', '--token-file', tokenFile('other')], /not a token/],
    [['join', '--token-file', tokenFile('starlane1.abc')], /is of an older release and holds a private key/],
    [
      ['init', '--dir', '/nowhere', '--request', 'x', '--cluster', 'a', '--id', '1', '--endpoint', 'https://x'],
      /--request is of one cluster/,
    ],
    [['join'], /give the token in a file with --token-file FILE/],
    [['join', '--token-file', '/nowhere'], /\/nowhere does not exist/],
    [['leave', '../x'], /not a valid cluster name/],
    [['init', '--dir', '/nowhere'], /the first time, give --cluster NAME, --id NUMBER and --endpoint/],
    [['init', '--cluster', 'a', '--id', '1', '--endpoint', 'https://x', '--tenant', 'b'], /name them with --peer/],
    [['dismiss', 'a', '--dir', '/nowhere'], /\/nowhere has no mesh.yaml/],
    [['init', '--cluster', 'A', '--id', '1', '--endpoint', 'https://x'], /"A" is not a valid cluster name/],
    [['init', '--cluster', 'a', '--id', '0', '--endpoint', 'https://x'], /--id 0 is not a number from 1 to 511/],
    [['init', '--cluster', 'a', '--id', '1', '--endpoint', 'http://x'], /"http:\/\/x" is not an https endpoint/],
    [['doctor', 'x', '--dir', '/nowhere'], /no client file x in \/nowhere/],
  ]
  for (const [argv, message] of wrong) await t.rejects(mesh(...argv), { code: 'USAGE', message })
})
