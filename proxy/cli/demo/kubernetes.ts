/** `starlane demo --kubernetes`: the same demo, with an API server for each cluster that kubectl can use. */
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../model/error.ts'
import type { DemoCluster } from './pods.ts'

/** The kubeconfig that the API servers write, with a context for each cluster. */
export function kubeconfigFile(folder: string): string {
  return join(folder, 'kubeconfig')
}

/** Starts an API server for each cluster's folder, and changes the configuration to read them instead of the folders. */
export async function serveKubernetes(folder: string, clusters: readonly DemoCluster[]): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('../../../test/support/kube-api/main.ts', import.meta.url))
  if (!existsSync(program)) {
    throw new MeshError(
      'USAGE',
      '--kubernetes needs the API servers of the tests, which only a source checkout has: npm run demo -- --kubernetes',
    )
  }
  await readFromKubernetes(join(folder, 'starlane.yaml'), clusters)
  const served = clusters.flatMap(({ name, folder }) => ['--cluster', `${name}=${folder}`])
  const child = fork(program, ['--kubeconfig', kubeconfigFile(folder), ...served], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('exit', code =>
      reject(new MeshError('LISTEN', `the API servers exited with ${code} before they listened`)),
    )
  })
  return child
}

async function readFromKubernetes(file: string, clusters: readonly DemoCluster[]): Promise<void> {
  const written = await readFile(file, 'utf8')
  const changed = clusters.reduce(
    (text, { name }) =>
      text.replace(
        `{ manifests: ./${name} }`,
        // Its pods are processes on loopback addresses, which a remote cluster may not claim by default.
        `{ kubernetes: { kubeconfig: ./kubeconfig, context: ${name} } }\n    allow: { loopback: true }`,
      ),
    written,
  )
  await writeFile(file, changed)
}
