/** Calls kubectl, the client by which the command line changes Kubernetes clusters. */
import { execFile } from 'node:child_process'
import { MeshError } from '../../model/error.ts'
import type { Io } from '../terminal/io.ts'

/** An object of the API, as JSON. */
export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid?: string
    readonly [key: string]: unknown
  }
  readonly [key: string]: unknown
}

export interface KubectlOptions {
  readonly env?: Io['env']
  /** For standard input. */
  readonly input?: string
}

/** Resolves with its standard output. Rejects with a MeshError: USAGE where it is not installed, else SOURCE_WRITE. */
export function kubectl(args: readonly string[], { env = {}, input = '' }: KubectlOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: 1 << 26, env: { ...process.env, ...env } }
    const child = execFile('kubectl', args, options, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      const why = missing
        ? 'kubectl is not installed; this command needs it'
        : `kubectl: ${stderr.trim() || error.message}`
      reject(new MeshError(missing ? 'USAGE' : 'SOURCE_WRITE', why, { cause: error }))
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

/** kubectl for one context. */
export interface Cluster {
  readonly context: string
  run(args: readonly string[], input?: string): Promise<string>
  /** Undefined where there is no such object. */
  get(kind: string, name: string, namespace?: string): Promise<Manifest | undefined>
  list(kind: string, namespace: string, selector: string): Promise<readonly Manifest[]>
  apply(objects: readonly Manifest[]): Promise<string>
  /** Creates the object, or replaces it; fails if it changed since it was read. */
  write(object: Manifest): Promise<void>
}

export function clusterOf(context: string, kubeconfig: string | undefined, env: Io['env']): Cluster {
  const target = [...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]), '--context', context]
  const run = (args: readonly string[], input = '') =>
    kubectl([...target, ...args], { env, input }).catch(error => {
      if (!(error instanceof MeshError) || error.code === 'USAGE') throw error
      throw new MeshError(error.code, `${context}: ${error.message}`, { cause: error })
    })
  const inside = (namespace: string | undefined) => (namespace === undefined ? [] : ['-n', namespace])
  return {
    context,
    run,
    get: async (kind, name, namespace) => {
      const text = await run([...inside(namespace), 'get', kind, name, '--ignore-not-found', '-o', 'json'])
      return text.trim() === '' ? undefined : JSON.parse(text)
    },
    list: async (kind, namespace, selector) =>
      JSON.parse(await run(['-n', namespace, 'get', kind, '-l', selector, '-o', 'json'])).items,
    apply: objects => run(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })),
    write: async object => {
      await run(
        [object.metadata.resourceVersion === undefined ? 'create' : 'replace', '-f', '-'],
        JSON.stringify(object),
      )
    },
  }
}
