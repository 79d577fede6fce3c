/** What a configuration needs of this machine and is not usable: found without asking any server. */
import { access, constants, readdir, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { readClientFile } from '../../clients/etcd/client-file.ts'
import type { ExecPlugin } from '../../clients/kubernetes/access.ts'
import { kubernetesAccess } from '../../clients/kubernetes/connect.ts'
import type { ClusterConfig, Config } from '../../config/schema.ts'
import { findAddon } from '../../dataplane/native/addon.ts'
import { whyNoSteering } from '../../dataplane/steering/preflight.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { fileNames, readMaterial } from '../../tunnel/certificates/material.ts'
import { certificatesIn } from './certificates.ts'

type Env = Readonly<Record<string, string | undefined>>

/**
 * Kubeconfigs with their contexts and programs, certificate files, client files of etcd, folders without manifests, the folders of
 * tunnels, and what `proxy.offload` needs.
 */
export async function localProblems(config: Config, env: Env): Promise<Problem[]> {
  const { clusters, proxy, publish } = config
  const found = clusters.map(async cluster => {
    const where = `clusters ${cluster.name}`
    try {
      return (await checkSource(cluster, env)).map(message => ({ code: 'SOURCE_READ' as const, where, message }))
    } catch (error) {
      return [{ code: 'SOURCE_READ' as const, where, message: messageOf(error) }]
    }
  })
  const published = await checkFiles({ ca: publish?.ca, cert: publish?.cert, key: publish?.key })
  const written = published.map(message => ({ code: 'SOURCE_READ' as const, where: 'publish', message }))
  return [...(await Promise.all(found)).flat(), ...written, ...(await checkTunnels(config)), ...checkOffload(proxy)]
}

/** Folders of certificates, and that of the authority. Each is named once, where both ends have the same. */
async function checkTunnels({ clusters, tunnel, gateway }: Config): Promise<Problem[]> {
  const names = clusters.map(({ name }) => name)
  const folders = new Map<string, string>()
  if (gateway?.certificates !== undefined) folders.set(gateway.certificates, 'gateway.certificates')
  if (tunnel.certificates !== undefined) folders.set(tunnel.certificates, 'tunnel.certificates')
  const found = [...folders].map(async ([folder, where]) => {
    const fault = await readMaterial(folder, names).then(() => undefined, messageOf)
    return fault === undefined ? [] : [{ code: 'CERTIFICATE' as const, where, message: fault }]
  })
  const { authority } = gateway ?? {}
  const own = authority === undefined ? {} : { ca: join(authority, fileNames.roots), key: join(authority, 'ca.key') }
  const faults = await checkFiles({ ca: own.ca, cert: undefined, key: own.key })
  return [
    ...(await Promise.all(found)).flat(),
    ...faults.map(message => ({ code: 'CERTIFICATE' as const, where: 'gateway.authority', message })),
  ]
}

/** What the kernel would be asked for. The rights are those of whoever runs Starlane. */
function checkOffload({ offload, ebpf }: Config['proxy']): Problem[] {
  if (offload === 'none') return []
  const why = whyNoSteering(findAddon(), ebpf.cgroup)
  return why === undefined ? [] : [{ code: 'OFFLOAD', where: 'proxy.offload', message: why }]
}

async function checkSource({ source }: ClusterConfig, env: Env): Promise<string[]> {
  if ('manifests' in source) return checkFolder(source.manifests)
  if ('etcd' in source) {
    const { ca, cert, key } = 'config' in source.etcd ? await readClientFile(source.etcd.config) : source.etcd
    return checkFiles({ ca, cert, key })
  }
  // A service account is that of the Pod, not of this machine.
  if ('inCluster' in source.kubernetes) return []
  const { ca, certificate, credential } = await kubernetesAccess(source.kubernetes, env)
  const fileOf = (pem: typeof ca) => (pem && 'file' in pem ? pem.file : undefined)
  const token = credential.by === 'token-file' && credential.token === undefined ? credential.file : undefined
  return [
    ...(await checkFiles({ ca: fileOf(ca), cert: fileOf(certificate?.cert), key: fileOf(certificate?.key), token })),
    ...(credential.by === 'exec' ? await checkProgram(credential.plugin, env) : []),
  ]
}

/** The program that gives credentials. */
async function checkProgram({ command, installHint }: ExecPlugin, env: Env): Promise<string[]> {
  const places = command.includes('/') ? [''] : (env.PATH ?? '').split(delimiter).filter(Boolean)
  for (const place of places) {
    const isThere = await access(join(place, command), constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return []
  }
  const where = command.includes('/') ? 'cannot be run' : 'is not on the PATH'
  return [`the kubeconfig gets credentials by "${command}", which ${where}; ${installHint ?? 'install it'}`]
}

/** A folder that is missing is reported by who reads it. */
async function checkFolder(path: string): Promise<string[]> {
  const isFolder = await stat(path).then(
    found => found.isDirectory(),
    () => false,
  )
  if (!isFolder) return []
  const files = await readdir(path, { recursive: true })
  return files.some(name => /\.(ya?ml|json)$/.test(name))
    ? []
    : [`${path} has no manifests: put files that end in .yaml, .yml or .json there, or correct the path`]
}

async function checkFiles(files: {
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly token?: string | undefined
}): Promise<string[]> {
  const found = Object.entries(files).map(async ([kind, path]) => {
    if (path === undefined) return []
    const text = await readRegularText(path).catch(error => new Error(fileFault(path, error)))
    if (text instanceof Error) return [text.message]
    if (kind === 'key' || kind === 'token' || certificatesIn(text, path).length > 0) return []
    return [`${path} has no certificate; give a PEM file that begins with -----BEGIN CERTIFICATE-----`]
  })
  return (await Promise.all(found)).flat()
}

function fileFault(path: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return `${path} does not exist; correct the path, or put the file there`
  if (code === 'EACCES') return `${path} may not be read by this user (EACCES); change its owner or mode: chmod u+r`
  return `${path} cannot be read: ${messageOf(error)}`
}
