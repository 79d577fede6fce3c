import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { MeshError, messageOf } from '../model/error.ts'
import { accessOf, type Kubeconfig, mergeKubeconfigs, parseKubeconfig } from './kubeconfig.ts'
import type { Access } from './kubernetes-api/access.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface KubeconfigOptions {
  /** One file; without it those of `KUBECONFIG`, and without that `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  /** Without it the file's current one. */
  readonly context?: string | undefined
}

/** Reads the files that kubectl would read and resolves the context. */
export async function loadAccess({ kubeconfig, context }: KubeconfigOptions, env: Environment): Promise<Access> {
  const merged = kubeconfig === undefined ? await loadFromEnvironment(env) : await loadFile(kubeconfig)
  return accessOf(merged, context)
}

/** Files of the list that are missing are passed over, as long as one is there. */
async function loadFromEnvironment(env: Environment): Promise<Kubeconfig> {
  const listed = [...new Set((env.KUBECONFIG ?? '').split(':').filter(file => file !== ''))]
  const files = listed.length > 0 ? listed : [join(env.HOME ?? '/', '.kube', 'config')]
  const found = await Promise.all(files.map(file => loadFile(file).catch(absent)))
  const configs = found.filter(config => config !== undefined)
  if (configs.length > 0) return mergeKubeconfigs(configs)
  throw new MeshError('SOURCE_READ', `there is no kubeconfig at ${files.join(', ')}; name one, or set KUBECONFIG`)
}

function absent(error: unknown): undefined {
  if (error instanceof MeshError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return
  throw error
}

async function loadFile(file: string): Promise<Kubeconfig> {
  const path = resolve(file)
  const source = await readFile(path, 'utf8').catch(error => {
    throw new MeshError('SOURCE_READ', `the kubeconfig cannot be read: ${messageOf(error)}`, { cause: error })
  })
  return parseKubeconfig(source, path)
}
