/** Run by ztunnel.test.ts in a network namespace of its own, with the kind of gateway; the ztunnel is in another one, at the end of a veth. */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { stringify } from 'yaml'
import { echo, hashOf, pattern, tcpBackend } from '../support/backend.ts'
import { eventually } from '../support/eventually.ts'
import { backend as backendOf } from '../support/model.ts'
import { carry } from '../support/tunnel/carry.ts'
import { serveInPump, sharedService, startClient, startGateway } from '../support/tunnel/rig.ts'

if (process.argv[2] === 'pump') serveInPump()

const program = process.env.STARLANE_ZTUNNEL ?? ''
const authority = process.env.STARLANE_ZTUNNEL_CA ?? ''
const folder = mkdtempSync(join(tmpdir(), 'starlane-ztunnel-'))
const [here, there] = ['10.77.0.1', '10.77.0.2']
const idOf = (account: string) => `spiffe://cluster.local/ns/default/sa/${account}`
const children: ReturnType<typeof spawn>[] = []
t.teardown(() => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

/** Certificates by the root that is in the tree of ztunnel. */
function certificates(name: string, id: string): string {
  const at = join(folder, name)
  mkdirSync(at)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: at, stdio: ['ignore', 'ignore', 'pipe'] })
  writeFileSync(
    join(at, 'ext'),
    `subjectAltName=critical,URI:${id}\nextendedKeyUsage=clientAuth,serverAuth\nkeyUsage=digitalSignature\n`,
  )
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'ec.key')
  openssl('pkcs8', '-topk8', '-nocrypt', '-in', 'ec.key', '-out', 'tls.key')
  openssl('req', '-new', '-key', 'tls.key', '-subj', '/O=cluster.local', '-out', 'csr')
  const by = [
    '-CA',
    join(authority, 'root-cert.pem'),
    '-CAkey',
    join(authority, 'ca-key.pem'),
    '-set_serial',
    String(Date.now()),
  ]
  openssl('x509', '-req', '-in', 'csr', ...by, '-days', '1', '-extfile', 'ext', '-out', 'tls.crt')
  copyFileSync(join(authority, 'root-cert.pem'), join(at, 'ca.crt'))
  return at
}

const workload = (name: string, address: string, serviceAccount: string) => ({
  ...{
    uid: `c//v1/Pod/default/${name}`,
    name,
    namespace: 'default',
    serviceAccount,
    workloadIps: [address],
    trustDomain: 'cluster.local',
  },
  ...{ protocol: 'HBONE', node: 'local', network: '', services: {} },
})

/** In the other namespace: a ztunnel, and a backend behind it. */
async function startZtunnel(): Promise<{ inside: (...command: string[]) => string[]; log: () => string }> {
  const source = `
    const serve = () => require('node:net').createServer({ allowHalfOpen: true }, socket => socket.on('error', () => {}).pipe(socket)).listen(9001, '${there}', () => console.log('listening'))
    process.stdin.once('data', serve); console.log('up')`
  const remote = spawn('unshare', ['-n', process.execPath, '-e', source], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(remote)
  await once(remote.stdout, 'data')
  const inside = (...command: string[]) => ['-t', String(remote.pid), '-n', ...command]
  const [ip, ipThere] = [
    (...args: string[]) => execFileSync('ip', args),
    (...args: string[]) => execFileSync('nsenter', inside('ip', ...args)),
  ]
  ip('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', String(remote.pid))
  ip('addr', 'add', `${here}/24`, 'dev', 'near')
  ip('link', 'set', 'near', 'up')
  ipThere('addr', 'add', `${there}/24`, 'dev', 'far')
  ipThere('link', 'set', 'far', 'up')
  ipThere('link', 'set', 'lo', 'up')
  remote.stdin.write('go')
  await once(remote.stdout, 'data')
  const state = join(folder, 'state.yaml')
  writeFileSync(
    state,
    stringify({
      workloads: [workload('local', there, 'local'), workload('remote', here, 'gateway')],
      services: [],
      policies: [],
    }),
  )
  const log = join(folder, 'log')
  const env = {
    ...process.env,
    ...{ FAKE_CA: 'true', XDS_ADDRESS: '', LOCAL_XDS_PATH: state, PROXY_MODE: 'dedicated', RUST_LOG: 'info' },
    ...{
      PROXY_WORKLOAD_INFO: 'default/local/local',
      UNSTABLE_ENABLE_SOCKS5: 'true',
      ENABLE_ORIG_SRC: 'false',
      NODE_NAME: 'local',
    },
  }
  const shell = `exec "$0" >"${log}" 2>&1`
  const ztunnel = spawn('nsenter', inside('sh', '-c', shell, program), { stdio: 'ignore', env })
  children.push(ztunnel)
  await eventually(() => {
    const said = readFileSync(log, 'utf8')
    if (!said.includes('marking server ready')) throw new Error(said.slice(-2000))
  }, 30_000)
  return { inside, log: () => readFileSync(log, 'utf8').slice(-4000) }
}

const { inside, log } = await startZtunnel()

/** Runs in the namespace of the ztunnel: asks its SOCKS5 server for a connection, and prints the hash of what comes back. */
const throughSocks = (port: number, bytes: number) => `
  const { createHash } = require('node:crypto')
  const socket = require('node:net').connect({ port: 15080, host: '127.0.0.1', localAddress: '127.0.0.1', allowHalfOpen: true })
  const { pattern } = { pattern: size => { const piece = Buffer.alloc(size); for (let i = 0; i < size; i++) piece[i] = (i * 7 + (i >> 8)) & 255; return piece } }
  const address = Buffer.from([5, 1, 0, 1, ${here.split('.').join(', ')}, ${port >> 8}, ${port & 255}])
  let stage = 0
  const hash = createHash('sha256')
  let came = 0
  socket.on('data', chunk => {
    if (stage === 0) { stage = 1; return void socket.write(address) }
    if (stage === 1) {
      if (chunk[1] !== 0) { console.log('refused ' + chunk[1]); process.exit(0) }
      stage = 2
      const data = pattern(${bytes})
      socket.end(data)
      console.log(createHash('sha256').update(data).digest('hex'))
      chunk = chunk.subarray(10)
    }
    hash.update(chunk)
    came += chunk.length
  })
  socket.on('end', () => { console.log(hash.digest('hex') + ' ' + came); process.exit(0) })
  socket.on('error', error => { console.log(error.message); process.exit(0) })
  socket.write(Buffer.from([5, 1, 0]))`

async function ask(port: number, bytes = 1 << 20): Promise<string[]> {
  const command = inside(process.execPath, '-e', throughSocks(port, bytes))
  const { stdout } = await promisify(execFile)('nsenter', command, { timeout: 20_000 })
  return stdout.trim().split('\n')
}

t.test('ztunnel is the client', async t => {
  const { backend } = await tcpBackend(t, echo, { host: here })
  const { backend: other } = await tcpBackend(t, echo, { host: here })
  const peers = [{ cluster: 'cluster-1', trustDomain: 'cluster.local', ids: [idOf('local')] }]
  const { gateway, lines } = await startGateway(t, {
    folder: certificates('gateway', idOf('gateway')),
    services: [sharedService([backend])],
    ...{ peers, host: here, port: 15_008 },
  })
  const [sent, came] = await ask(backend.port)
  t.equal(came, `${sent} ${1 << 20}`, came?.startsWith(sent ?? '') ? 'all bytes come back' : log())
  t.match(gateway.view(), { clusters: [{ cluster: 'cluster-1' }] })
  t.notMatch((await ask(other.port))[1] ?? 'refused', /^[0-9a-f]{64} 1048576/, 'what is not shared')
  t.ok(lines.some(({ event }) => event === 'gateway.unknown-target'))
  gateway.destroy()
})

t.test('ztunnel is the server', async t => {
  const identity = { cluster: 'cluster-2', trustDomain: 'cluster.local', ids: [idOf('local')] }
  const at = { host: there, port: 15_008, text: `${there}:15008` }
  const clientFolder = certificates('proxy', 'spiffe://cluster.local/ns/cluster-1/sa/proxy')
  const proxy = await startClient(t, { folder: clientFolder, gateways: [at], identity })
  await proxy.open()
  const behind = backendOf({ address: there, port: 9001, cluster: 'cluster-2', network: 'cluster-2' })
  const { client, done } = await carry(t, await proxy.dial(behind))
  const question = pattern(3 << 20)
  client.end(question)
  const chunks: Buffer[] = []
  for await (const chunk of client) chunks.push(chunk as Buffer)
  t.equal(hashOf(Buffer.concat(chunks)), hashOf(question))
  t.equal(await done, 'done')
  await t.rejects(proxy.dial({ ...behind, port: 9002 }), { message: /the gateway answers 503/ }, 'nobody listens there')
  await eventually(() => {
    if (proxy.client.healthOf('cluster-2', there, 9001, 'TCP') !== undefined) throw new Error('a ztunnel cannot tell')
  })
  const wrong = { ...identity, ids: [idOf('somebody')] }
  const refusing = await startClient(t, { folder: clientFolder, gateways: [at], identity: wrong })
  await eventually(() => {
    const error = refusing.client.views('cluster-2')?.[0]?.error ?? ''
    if (!/a gateway of cluster-2 has .*somebody/.test(error)) throw new Error(error)
  })
})

t.test('ztunnel is the workload of double HBONE', async t => {
  const behind = backendOf({ address: there, port: 9001, cluster: 'cluster-2', network: 'cluster-2' })
  const { gateway, at } = await startGateway(t, {
    folder: certificates('outer', idOf('gateway')),
    services: [sharedService([behind])],
    peers: [{ cluster: 'cluster-1', trustDomain: 'cluster.local', ids: [], workloads: [] }],
    host: here,
  })
  const proxy = await startClient(t, {
    folder: certificates('inner', 'spiffe://cluster.local/ns/cluster-1/sa/proxy'),
    gateways: [at],
    identity: {
      cluster: 'cluster-2',
      trustDomain: 'cluster.local',
      ids: [idOf('gateway')],
      workloads: [idOf('local')],
    },
  })
  await proxy.open()
  const { client, done } = await carry(t, await proxy.dial(behind))
  t.equal(gateway.view().streams, 1)
  const question = pattern(1 << 20)
  client.end(question)
  const chunks: Buffer[] = []
  for await (const chunk of client) chunks.push(chunk as Buffer)
  t.equal(hashOf(Buffer.concat(chunks)), hashOf(question))
  t.equal(await done, 'done')
})
