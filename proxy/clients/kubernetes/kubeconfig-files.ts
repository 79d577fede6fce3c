import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Access } from './access.ts'
import { accessOf, type Kubeconfig, mergeKubeconfigs, parseKubeconfig } from './kubeconfig.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface KubeconfigOptions {
  /** One file, or several with colons between; without it those of `KUBECONFIG`, and without that `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  /** Without it the file's current one. */
  readonly context?: string | undefined
}

/** Reads the files that kubectl would read and resolves the context. */
export async function loadAccess({ kubeconfig, context }: KubeconfigOptions, env: Environment): Promise<Access> {
  const files = listOf(kubeconfig) ?? listOf(env.KUBECONFIG) ?? [join(env.HOME ?? '/', '.kube', 'config')]
  return accessOf(await loadFiles(files), context)
}

/** Several are written as in `KUBECONFIG`, with colons between them. */
function listOf(text: string | undefined): readonly string[] | undefined {
  const files = [...new Set(text?.split(':').filter(file => file !== ''))]
  return files.length > 0 ? files : undefined
}

/** Files that are missing are passed over, as long as one is there. */
async function loadFiles(files: readonly string[]): Promise<Kubeconfig> {
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
