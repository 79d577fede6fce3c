/**
 * A ztunnel in the place of Starlane's gateway, where `STARLANE_ZTUNNEL` names its program (docs/tunnel.md says how it is built) and
 * `STARLANE_ZTUNNEL_CA` the folder with the root that it trusts. The other half is Starlane: a ztunnel takes clients by redirected packets or SOCKS,
 * which the load programs do not speak.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { Child } from '../process.ts'
import type { Place } from '../proxy/place.ts'

const { STARLANE_ZTUNNEL: program, STARLANE_ZTUNNEL_CA: authority } = process.env
/** It cannot be told to listen elsewhere. */
const port = 15_008
const domain = 'cluster.local'

export interface Ztunnel {
  readonly gateway: string
  readonly child: Child
  /** Of the proxy that dials it: `tls.crt`, `tls.key` and `ca.crt`. */
  readonly certificates: string
  /** What the configuration says of the cluster behind it. */
  readonly identity: string
}

/** The backends at 127.0.0.1 are its workload. Throws the reason where there is none. */
export async function startZtunnel(place: Place): Promise<Ztunnel> {
  if (!program || !authority) throw new Error('STARLANE_ZTUNNEL and STARLANE_ZTUNNEL_CA name no ztunnel')
  const folder = place.folder('ztunnel')
  const certificates = join(folder, 'client')
  issueClient(certificates, authority)
  const state = join(folder, 'state.yaml')
  const workload = {
    ...{ uid: 'c//v1/Pod/default/local', name: 'local', namespace: 'default', serviceAccount: 'local' },
    ...{ workloadIps: ['127.0.0.1'], trustDomain: domain, protocol: 'HBONE', node: 'local', network: '', services: {} },
  }
  writeFileSync(state, stringify({ workloads: [workload], services: [], policies: [] }))
  const settings = {
    ...{ FAKE_CA: 'true', XDS_ADDRESS: '', LOCAL_XDS_PATH: state, PROXY_MODE: 'dedicated', RUST_LOG: 'error' },
    ...{
      PROXY_WORKLOAD_INFO: 'default/local/local',
      ENABLE_ORIG_SRC: 'false',
      NODE_NAME: 'local',
      WORKER_THREADS: '1',
    },
  }
  const child = await Child.start(
    'env',
    [...Object.entries(settings).map(([name, value]) => `${name}=${value}`), program],
    [port],
  )
  const identity = `, trustDomain: ${domain}, identities: ["spiffe://${domain}/ns/default/sa/local"]`
  return { gateway: `127.0.0.1:${port}`, child, certificates, identity }
}

/** By openssl, since the authority of a ztunnel is an RSA key. */
function issueClient(folder: string, by: string): void {
  mkdirSync(folder)
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  writeFileSync(
    join(folder, 'ext'),
    `subjectAltName=critical,URI:spiffe://${domain}/ns/west/sa/proxy\nextendedKeyUsage=clientAuth,serverAuth\nkeyUsage=digitalSignature\n`,
  )
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'ec.key')
  openssl('pkcs8', '-topk8', '-nocrypt', '-in', 'ec.key', '-out', 'tls.key')
  openssl('req', '-new', '-key', 'tls.key', '-subj', `/O=${domain}`, '-out', 'csr')
  const signer = ['-CA', join(by, 'root-cert.pem'), '-CAkey', join(by, 'ca-key.pem'), '-set_serial', String(Date.now())]
  openssl('x509', '-req', '-in', 'csr', ...signer, '-days', '1', '-extfile', 'ext', '-out', 'tls.crt')
  copyFileSync(join(by, 'root-cert.pem'), join(folder, 'ca.crt'))
}
