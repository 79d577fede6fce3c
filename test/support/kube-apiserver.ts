/**
 * Runs a real kube-apiserver for tests: its binary is at STARLANE_KUBE_APISERVER, etcd on the PATH or at STARLANE_ETCD. No other
 * part of Kubernetes runs, so that nothing schedules, creates endpoints or collects garbage.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { KubernetesClient } from '../../proxy/clients/kubernetes/client.ts'
import { createKubernetesClient } from '../../proxy/clients/kubernetes/connect.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { eventually } from './eventually.ts'
import { Authority } from './kube-api/certificates.ts'
import { type Entry, writeKubeconfig } from './kube-api/kubeconfig.ts'
import type { KubeObject } from './kube-api/types.ts'

const binary = process.env.STARLANE_KUBE_APISERVER
const etcd = process.env.STARLANE_ETCD ?? 'etcd'

/** Options of a test that needs it. */
export const skipped: { readonly skip?: string } =
  binary === undefined
    ? { skip: 'STARLANE_KUBE_APISERVER does not name a kube-apiserver' }
    : spawnSync(etcd, ['--version']).status === 0
      ? {}
      : { skip: 'etcd is not installed' }

export const mcsVersion = 'multicluster.x-k8s.io/v1alpha1'
/** The ServiceAccount of deploy/base. */
export const account = { namespace: 'starlane', name: 'starlane' }

export interface RealApi {
  /** As an administrator. */
  readonly entry: Entry
  /** A kubeconfig of that entry. */
  readonly kubeconfig: string
  /** kubectl as the administrator; `input` is what `-f -` reads. */
  kubectl(args: readonly string[], input?: string): Promise<string>
  apply(...objects: readonly KubeObject[]): Promise<void>
  /** Undefined where there is no such object. */
  get(path: string): Promise<KubeObject | undefined>
  list(path: string): Promise<KubeObject[]>
  /** A token of a ServiceAccount, issued by the server. */
  token(namespace: string, serviceAccount: string): Promise<string>
  /** A kubeconfig with the token. */
  login(token: string): string
  /** Compacts etcd to the newest revision, as the server does every five minutes. */
  compact(): Promise<void>
}

export async function startKubeApiserver(t: Test, flags: readonly string[] = []): Promise<RealApi> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const store = await startStore(t, folder)
  const entry = await startServer(t, folder, store, flags)
  const kubeconfig = join(folder, 'kubeconfig')
  writeKubeconfig(kubeconfig, [entry])
  const client = clientOf(kubeconfig)
  t.teardown(() => client.close())
  const { signal } = new AbortController()
  let logins = 0
  return {
    entry,
    kubeconfig,
    kubectl: (args, input) => kubectl(kubeconfig, join(folder, 'cache'), args, input),
    apply: async (...objects) => {
      const list = { apiVersion: 'v1', kind: 'List', items: objects }
      await kubectl(kubeconfig, join(folder, 'cache'), ['apply', '-f', '-'], JSON.stringify(list))
    },
    get: path => client.json({ path }, signal).catch(absent) as Promise<KubeObject | undefined>,
    list: async path => ((await client.json({ path }, signal)) as { items: KubeObject[] }).items,
    token: async (namespace, serviceAccount) => {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`
      const value = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 600 } }
      const body = { type: 'application/json', value }
      return ((await client.json({ method: 'POST', path, body }, signal)) as KubeObject).status.token
    },
    login: token => {
      const file = join(folder, `login-${++logins}`)
      writeKubeconfig(file, [{ ...entry, user: { token } }])
      return file
    },
    compact: async () => {
      const ctl = (...args: string[]) =>
        promisify(execFile)('etcdctl', [`--endpoints=${store}`, ...args], { env: { ...process.env, ETCDCTL_API: '3' } })
      const { stdout } = await ctl('get', '/registry', '--limit=1', '--prefix', '--write-out=json')
      await ctl('compact', String(JSON.parse(stdout).header.revision))
    },
  }
}

async function startStore(t: Test, folder: string): Promise<string> {
  const [client, peer] = [await freePort(), await freePort()]
  run(t, etcd, [
    `--listen-client-urls=http://127.0.0.1:${client}`,
    `--advertise-client-urls=http://127.0.0.1:${client}`,
    `--listen-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-cluster=default=http://127.0.0.1:${peer}`,
    `--data-dir=${join(folder, 'etcd')}`,
    '--unsafe-no-fsync',
  ])
  await eventually(() => reaches(client), 20_000)
  return `http://127.0.0.1:${client}`
}

async function startServer(t: Test, folder: string, store: string, flags: readonly string[]): Promise<Entry> {
  const authority = new Authority()
  t.teardown(() => authority.close())
  const { cert, key } = authority.issue('kube-apiserver', ['IP:127.0.0.1'])
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const [certFile, keyFile] = [file('server.crt', cert), file('server.key', key)]
  const port = await freePort()
  const server = run(t, binary ?? '', [
    `--etcd-servers=${store}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--tls-cert-file=${certFile}`,
    `--tls-private-key-file=${keyFile}`,
    `--token-auth-file=${file('tokens.csv', 'secret,admin,1,system:masters\n')}`,
    '--authorization-mode=RBAC',
    '--service-account-issuer=https://localhost',
    `--service-account-key-file=${certFile}`,
    `--service-account-signing-key-file=${keyFile}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
    ...flags,
  ])
  const entry = { name: 'real', server: `https://127.0.0.1:${port}`, ca: authority.cert, user: { token: 'secret' } }
  const probe = join(folder, 'probe')
  writeKubeconfig(probe, [entry])
  const client = clientOf(probe)
  await eventually(async () => {
    if (server.exitCode !== null) throw new Error(`kube-apiserver exited: ${server.stderrText()}`)
    await client.json({ path: '/readyz' }, AbortSignal.timeout(1000)).catch(isNoJson)
    await client.json({ path: '/api/v1/namespaces/default' }, AbortSignal.timeout(1000))
  }, 60_000)
  await client.close()
  return entry
}

/** /readyz answers `ok`, which is not JSON. */
function isNoJson(error: unknown): void {
  if (!(error instanceof Error) || !/JSON/.test(error.message)) throw error
}

function clientOf(kubeconfig: string): KubernetesClient {
  return createKubernetesClient({ kubeconfig }, { clock: systemClock, random: Math.random, log: silentLog, env: {} })
}

async function kubectl(kubeconfig: string, cache: string, args: readonly string[], input = ''): Promise<string> {
  const child = promisify(execFile)('kubectl', ['--kubeconfig', kubeconfig, '--cache-dir', cache, ...args], {
    timeout: 60_000,
    maxBuffer: 1 << 26,
  })
  child.child.stdin?.end(input)
  return (await child).stdout
}

type Running = ChildProcess & { stderrText(): string }

function run(t: Test, command: string, args: readonly string[]): Running {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let text = ''
  child.stderr?.on('data', chunk => {
    text = `${text}${chunk}`.slice(-2000)
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  })
  return Object.assign(child, { stderrText: () => text })
}

function reaches(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1', () => resolve(void socket.destroy()))
    socket.once('error', reject)
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

function absent(error: unknown): undefined {
  if ((error as { status?: number }).status === 404) return undefined
  throw error
}

export interface Web {
  readonly name?: string
  readonly port?: number
  readonly address?: string
  readonly clusterIP?: string
}

/** A Service and its EndpointSlice, `NAME-1`. */
export function webObjects(
  annotations: Readonly<Record<string, string>> = {},
  { name = 'web', port = 80, address = '10.1.0.1', clusterIP }: Web = {},
): KubeObject[] {
  const ports = [{ name: 'http', port, protocol: 'TCP' }]
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default', annotations: { ...annotations } },
      spec: { ports, ...(clusterIP && { clusterIP }) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports,
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
    },
  ]
}

export function exportOf(name: string): KubeObject {
  return { apiVersion: mcsVersion, kind: 'ServiceExport', metadata: { name, namespace: 'default' } }
}

/** The role without one resource. */
export function without(role: KubeObject, resource: string): KubeObject {
  const rules = role.rules.map((rule: { resources: string[] }) => ({
    ...rule,
    resources: rule.resources.filter(each => each !== resource),
  }))
  return { ...role, rules: rules.filter(({ resources }: { resources: string[] }) => resources.length > 0) }
}
