/** Real etcd servers for tests: on loopback, each with a folder of its own, ended by process id. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { heartbeatKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdClient } from '../../../proxy/clients/etcd/client.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import type { EtcdServers } from '../../../proxy/clients/etcd/server.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createAuthority, issue } from '../../../proxy/tunnel/enrolment/authority.ts'
import { eventually } from '../eventually.ts'
import { pause } from '../servers.ts'

/** Why tests with a server cannot run here; false when they can. */
export const noEtcd: string | false = (() => {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'ignore' })
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'needs the programs etcd (Debian: etcd-server) and openssl'
  }
})()

export interface Etcd {
  readonly url: string
  /** As a client is to reach it: with the certificates of {@link startEtcd}, when it asks for any. */
  readonly servers: EtcdServers
  readonly data: string
  /** For a client of the test's own; closed with the test. */
  client(): Promise<EtcdClient>
  ctl(...args: string[]): Promise<string>
  /** Ends the process at once, or lets it stand still and go on. */
  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void>
  /** On the same port; `empty` without anything that it knew. */
  start(options?: { empty?: boolean; flags?: readonly string[] }): Promise<void>
  /** On the same port, with what a snapshot holds: a new etcd to all who knew the old one. */
  restore(snapshot: string): Promise<void>
}

/** Certificates in a folder: the authority, a server for 127.0.0.1, and clients by their name. */
export interface Certificates {
  readonly folder: string
  readonly ca: string
  /** The files of a client of this name, made when first asked for. */
  client(name: string): Promise<{ ca: string; cert: string; key: string }>
  /** Signs the files of a client, or those of `server`, anew: they have expired. */
  expire(name: string): Promise<void>
  /** Gives the server a valid certificate; etcd reads it for each connection. */
  serve(): Promise<void>
}

export async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'starlane-etcd-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

export async function makeCertificates(t: Test): Promise<Certificates> {
  const path = await folder(t)
  const authority = await createAuthority({ file: join(path, 'ca'), name: 'test', days: 1 })
  const serve = () =>
    issue(authority, { file: join(path, 'server'), name: 'etcd', days: 1, hosts: ['127.0.0.1', 'etcd.test'] })
  await serve()
  const ca = join(path, 'ca.crt')
  return {
    folder: path,
    ca,
    serve,
    expire: async name => {
      const [cert, key, asked] = ['crt', 'key', 'csr'].map(ending => join(path, `${name}.${ending}`)) as [
        string,
        string,
        string,
      ]
      const openssl = (...args: string[]) => promisify(execFile)('openssl', args)
      await openssl('req', '-new', '-key', key, '-subj', `/CN=${name}`, '-out', asked)
      const signer = ['-CA', ca, '-CAkey', join(path, 'ca.key'), '-CAcreateserial', '-CAserial', join(path, 'serial')]
      await openssl('x509', '-req', '-in', asked, ...signer, '-days', '-1', '-out', cert)
    },
    client: async name => {
      const file = join(path, name)
      await issue(authority, { file, name, days: 1 })
      return { ca, cert: `${file}.crt`, key: `${file}.key` }
    },
  }
}

export interface EtcdSetup {
  /** The server's own are `server.crt` and `server.key` in their folder; the test's client is root. */
  readonly certificates?: Pick<Certificates, 'folder' | 'ca' | 'client'>
  /** Of the first member. */
  readonly port?: number
  readonly flags?: readonly string[]
}

export async function startEtcd(t: Test, setup: EtcdSetup = {}): Promise<Etcd> {
  const [member] = await startMembers(t, 1, setup)
  if (!member) throw new Error('no member')
  return member
}

/** Several servers that are one etcd. */
export async function startMembers(
  t: Test,
  count: number,
  { certificates, flags = [], port }: EtcdSetup = {},
): Promise<Etcd[]> {
  const scheme = certificates ? 'https' : 'http'
  const ports = await Promise.all(Array.from({ length: count * 2 }, freePort))
  const all = Array.from({ length: count }, (_, i) => ({
    name: `m${i}`,
    url: `${scheme}://127.0.0.1:${(i === 0 && port) || ports[2 * i]}`,
    peer: `http://127.0.0.1:${ports[2 * i + 1]}`,
  }))
  const cluster = all.map(({ name, peer }) => `${name}=${peer}`).join(',')
  const own = certificates ? await certificates.client('root') : undefined
  const members = await Promise.all(
    all.map(async ({ name, url, peer }) => {
      const data = await folder(t)
      const tls = certificates
        ? [
            '--cert-file',
            join(certificates.folder, 'server.crt'),
            '--key-file',
            join(certificates.folder, 'server.key'),
          ].concat(['--trusted-ca-file', certificates.ca, '--client-cert-auth'])
        : []
      const args = ['--name', name, '--listen-client-urls', url, '--advertise-client-urls', url]
        .concat(['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster])
        .concat(
          ['--log-level', 'error', '--unsafe-no-fsync', '--heartbeat-interval', '50', '--election-timeout', '500'],
          tls,
          flags,
        )
      return { url, args, data }
    }),
  )
  const started = members.map(({ url, args, data }) => new Member(url, args, data, own))
  t.teardown(() => Promise.all(started.map(member => member.end())))
  await Promise.all(started.map(member => member.spawn()))
  await Promise.all(started.map(member => member.ready()))
  return started
}

class Member implements Etcd {
  readonly url: string
  readonly servers: EtcdServers
  readonly data: string
  #args: readonly string[]
  #generation = 0
  #process: ChildProcess | undefined
  #clients: EtcdClient[] = []

  constructor(url: string, args: readonly string[], data: string, files: Omit<EtcdServers, 'endpoints'> | undefined) {
    this.url = url
    this.#args = args
    this.data = data
    this.servers = { endpoints: [url], ...files }
  }

  async client(): Promise<EtcdClient> {
    const client = await connectEtcd(this.servers, { probe: heartbeatKey, clock: systemClock, random: Math.random })
    this.#clients.push(client)
    return client
  }

  async ctl(...args: string[]): Promise<string> {
    const { ca, cert, key } = this.servers
    const tls = ca && cert && key ? ['--cacert', ca, '--cert', cert, '--key', key] : []
    const env = { ...process.env, ETCDCTL_API: '3' }
    const { stdout } = await promisify(execFile)('etcdctl', ['--endpoints', this.url, ...tls, ...args], { env })
    return stdout
  }

  async signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    if (signal === 'SIGSTOP' && this.#process) return pause(this.#process)
    const ended = signal === 'SIGKILL' && this.#process ? once(this.#process, 'exit') : undefined
    this.#process?.kill(signal)
    await ended
  }

  async start({ empty = false, flags = [] }: { empty?: boolean; flags?: readonly string[] } = {}): Promise<void> {
    if (empty) this.#generation++
    await this.spawn(flags)
    await this.ready()
  }

  async restore(snapshot: string): Promise<void> {
    this.#generation++
    const at = (flag: string) => this.#args[this.#args.indexOf(flag) + 1] ?? ''
    await this.ctl(
      ...['snapshot', 'restore', snapshot, '--data-dir', this.#folder],
      ...['--name', '--initial-cluster', '--initial-advertise-peer-urls'].flatMap(flag => [flag, at(flag)]),
      ...['--initial-cluster-token', `starlane-${this.#generation}`],
    )
    await this.start()
  }

  get #folder(): string {
    return join(this.data, String(this.#generation))
  }

  async spawn(flags: readonly string[] = []): Promise<void> {
    const child = spawn(
      'etcd',
      ['--data-dir', this.#folder, '--initial-cluster-token', `starlane-${this.#generation}`, ...this.#args, ...flags],
      {
        stdio: 'ignore',
      },
    )
    child.on('error', () => {})
    this.#process = child
  }

  async ready(): Promise<void> {
    const { port } = new URL(this.url)
    await eventually(() => dialled(Number(port)), 20_000)
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.close()
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}

async function dialled(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}

/** Below the range that the kernel hands out by itself, so that nobody is given it between the look and the use. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    const server = createServer()
    const free = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!free) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
