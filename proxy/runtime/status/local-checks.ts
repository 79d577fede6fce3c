/** What a configuration needs of this machine and is not usable: found without asking any server. */
import { readdir, stat } from 'node:fs/promises'
import { readClientFile } from '../../clients/etcd/client-file.ts'
import { kubernetesAccess } from '../../clients/kubernetes/connect.ts'
import type { ClusterConfig, Config } from '../../config/schema.ts'
import { findAddon } from '../../dataplane/native/addon.ts'
import { whyNoSteering } from '../../dataplane/steering/preflight.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { certificatesIn } from './certificates.ts'

type Env = Readonly<Record<string, string | undefined>>

/**
 * Kubeconfigs with their contexts, certificate files, client files of etcd, folders without manifests, and what `proxy.offload` needs.
 */
export async function localProblems({ clusters, proxy }: Config, env: Env): Promise<Problem[]> {
  const found = clusters.map(async cluster => {
    const where = `clusters ${cluster.name}`
    try {
      return (await checkSource(cluster, env)).map(message => ({ code: 'SOURCE_READ' as const, where, message }))
    } catch (error) {
      return [{ code: 'SOURCE_READ' as const, where, message: messageOf(error) }]
    }
  })
  return [...(await Promise.all(found)).flat(), ...checkOffload(proxy)]
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
  const { ca, certificate } = await kubernetesAccess(source.kubernetes, env)
  const fileOf = (pem: typeof ca) => (pem && 'file' in pem ? pem.file : undefined)
  return checkFiles({ ca: fileOf(ca), cert: fileOf(certificate?.cert), key: fileOf(certificate?.key) })
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
}): Promise<string[]> {
  const found = Object.entries(files).map(async ([kind, path]) => {
    if (path === undefined) return []
    const text = await readRegularText(path).catch(error => new Error(fileFault(path, error)))
    if (text instanceof Error) return [text.message]
    if (kind === 'key' || certificatesIn(text, path).length > 0) return []
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
