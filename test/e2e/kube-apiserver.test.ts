/**
 * The contract of sources on a real API server, where there is one: STARLANE_KUBE_APISERVER is the path of kube-apiserver;
 * etcd is looked for in PATH, or at STARLANE_ETCD.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../proxy/model/clock.ts'
import { examineSource } from '../conformance/source.ts'
import { eventually } from '../support/eventually.ts'
import { Authority } from '../support/kube-api/certificates.ts'
import { openDriver } from '../support/kube-api/driver.ts'
import type { Entry } from '../support/kube-api/kubeconfig.ts'

const binary = process.env.STARLANE_KUBE_APISERVER
const etcd = process.env.STARLANE_ETCD ?? 'etcd'
const skip =
  binary === undefined
    ? { skip: 'STARLANE_KUBE_APISERVER does not name a kube-apiserver' }
    : spawnSync(etcd, ['--version']).status === 0
      ? {}
      : { skip: 'etcd is not installed' }

t.test('the contract of sources, on a real API server', { ...skip, timeout: 180_000 }, async t => {
  const entry = await startServer(t, binary ?? '')
  examineSource(t, t => openDriver(t, entry, systemClock))
})

async function startServer(t: Test, binary: string): Promise<Entry> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const authority = new Authority()
  t.teardown(() => authority.close())
  const { cert, key } = authority.issue('kube-apiserver', ['IP:127.0.0.1'])
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const certFile = file('server.crt', cert)
  const keyFile = file('server.key', key)
  const [client, peer, port] = [await freePort(), await freePort(), await freePort()]

  run(t, etcd, [
    `--data-dir=${join(folder, 'etcd')}`,
    `--listen-client-urls=http://127.0.0.1:${client}`,
    `--advertise-client-urls=http://127.0.0.1:${client}`,
    `--listen-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-cluster=default=http://127.0.0.1:${peer}`,
  ])
  const server = run(t, binary, [
    `--etcd-servers=http://127.0.0.1:${client}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--tls-cert-file=${certFile}`,
    `--tls-private-key-file=${keyFile}`,
    `--token-auth-file=${file('tokens.csv', 'secret,admin,1,system:masters\n')}`,
    '--authorization-mode=RBAC',
    '--service-account-issuer=https://localhost',
    `--service-account-key-file=${keyFile}`,
    `--service-account-signing-key-file=${keyFile}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
  ])
  const entry = { name: 'real', server: `https://127.0.0.1:${port}`, ca: authority.cert, user: { token: 'secret' } }
  await eventually(() => isReady(t, server, entry), 60_000)
  return entry
}

/** Once the driver can read and write. */
async function isReady(t: Test, server: ChildProcess, entry: Entry): Promise<void> {
  if (server.exitCode !== null) throw new Error(`kube-apiserver ended with ${server.exitCode}`)
  const { apply, remove, source } = await openDriver(t, entry, systemClock)
  const probe = { namespace: 'default', name: 'probe', clusterIP: '10.96.200.1', addresses: ['10.0.0.1'] }
  await apply(probe)
  await remove(probe)
  await source.close()
}

function run(t: Test, command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: 'ignore' })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  })
  return child
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
