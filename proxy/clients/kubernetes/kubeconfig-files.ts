/** Finds and reads the kubeconfig files that kubectl would read. */
import { join, resolve } from 'node:path'
import { MeshError, messageOf } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import type { Access } from './access.ts'
import { accessOf, type Kubeconfig, mergeKubeconfigs, parseKubeconfig } from './kubeconfig.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface KubeconfigOptions {
  /** One file, whose name may contain colons. Default: those of `KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  /** Default: the current context. */
  readonly context?: string | undefined
}

/** Reads the files and resolves the context. */
export async function loadAccess({ kubeconfig, context }: KubeconfigOptions, env: Environment): Promise<Access> {
  return accessOf(await readKubeconfigs(kubeconfig, env), context)
}

/** All files as one. */
export function readKubeconfigs(kubeconfig: string | undefined, env: Environment): Promise<Kubeconfig> {
  return loadFiles(kubeconfigFiles(kubeconfig, env))
}

/** The files that are read, also those that do not exist. */
export function kubeconfigFiles(kubeconfig: string | undefined, env: Environment): readonly string[] {
  if (kubeconfig !== undefined && kubeconfig !== '') return [kubeconfig]
  return listOf(env.KUBECONFIG) ?? [join(env.HOME ?? '/', '.kube', 'config')]
}

/** `KUBECONFIG` is a list, separated by colons. */
function listOf(text: string | undefined): readonly string[] | undefined {
  const files = [...new Set(text?.split(':').filter(file => file !== ''))]
  return files.length > 0 ? files : undefined
}

/** Missing files are ignored as long as one exists. */
async function loadFiles(files: readonly string[]): Promise<Kubeconfig> {
  const found = await Promise.all(files.map(file => loadFile(file).catch(absent)))
  const configs = found.filter(config => config !== undefined)
  if (configs.length > 0) return mergeKubeconfigs(configs)
  throw new MeshError('SOURCE_READ', `there is no kubeconfig at ${files.join(', ')}; give its path, or set KUBECONFIG`)
}

function absent(error: unknown): undefined {
  if (error instanceof MeshError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return
  throw error
}

async function loadFile(file: string): Promise<Kubeconfig> {
  const path = resolve(file)
  const source = await readRegularText(path).catch(error => {
    throw new MeshError('SOURCE_READ', `the kubeconfig cannot be read: ${messageOf(error)}`, { cause: error })
  })
  return parseKubeconfig(source, path)
}
