/** Serves a folder of manifests through the API server, and writes back what kubectl scales. */
import { existsSync, readdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { scaleDeployment } from '../../../proxy/cli/demo/pods.ts'
import type { KubeApi } from './server.ts'
import type { KubeObject } from './types.ts'

/**
 * Serves every object of the folder and follows its changes. `kubectl scale` of a Deployment is written back, so that the
 * demo's pods, which read the folder alone, follow kubectl. Returns a function that stops it.
 */
export function serveFolder(api: KubeApi, folder: string): () => Promise<void> {
  /** Objects as last read: an unchanged file does not undo what kubectl has changed since. */
  const lastRead = new Map<string, string>()
  const read = () => {
    for (const object of objectsIn(folder)) {
      const key = keyOf(object)
      const text = JSON.stringify(object)
      if (lastRead.get(key) !== text) put(api, object)
      lastRead.set(key, text)
    }
    tellStatus(api)
  }
  read()
  let writing = Promise.resolve()
  const stop = api.store.onEvent(({ type, object }) => {
    if (type !== 'MODIFIED' || object.kind !== 'Deployment') return
    // In sequence, since each change of the spec is followed by one of the status.
    writing = writing.then(() => writeReplicas(api, folder, lastRead, object.metadata.name))
  })
  const watcher = watch(folder, read)
  return async () => {
    stop()
    watcher.close()
    await writing
  }
}

/** A file that has changed since it was read is newer than what the API server has, and is read soon. */
async function writeReplicas(api: KubeApi, folder: string, lastRead: Map<string, string>, name: string): Promise<void> {
  const find = () => objectsIn(folder).find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === name)
  const written = find()
  const wanted: number | undefined = api.get('Deployment', name)?.spec.replicas
  if (!written || wanted === undefined || written.spec.replicas === wanted) return
  if (lastRead.get(keyOf(written)) !== JSON.stringify(written)) return
  await scaleDeployment(folder, wanted)
  lastRead.set(keyOf(written), JSON.stringify({ ...written, spec: { ...written.spec, replicas: wanted } }))
}

const keyOf = ({ kind, metadata }: KubeObject): string => `${kind} ${metadata.name}`

/** Keeps labels and annotations set by kubectl. */
function put(api: KubeApi, object: KubeObject): void {
  const { metadata } = object
  const known = api.get(object.kind, metadata.name, metadata.namespace)?.metadata
  const labels = { ...known?.labels, ...metadata.labels }
  const annotations = { ...known?.annotations, ...metadata.annotations }
  api.put({ ...object, metadata: { ...metadata, labels, annotations } })
}

/** Derives ready pods from the EndpointSlices, for `kubectl get` and `kubectl wait`. */
function tellStatus(api: KubeApi): void {
  for (const deployment of api.list('Deployment')) {
    const slices = api
      .list('EndpointSlice')
      .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === deployment.metadata.name)
    const ready = slices.flatMap(({ endpoints }) => endpoints).filter(endpoint => endpoint.conditions?.ready).length
    const { replicas } = deployment.spec
    const available = ready >= replicas ? 'True' : 'False'
    const status = {
      observedGeneration: deployment.metadata.generation,
      replicas: ready,
      updatedReplicas: ready,
      readyReplicas: ready,
      availableReplicas: ready,
      conditions: [{ type: 'Available', status: available }],
    }
    api.put({ ...deployment, status })
  }
}

/** Skips a file that is still being written; its next change event reads it. */
function objectsIn(folder: string): KubeObject[] {
  const files = existsSync(folder) ? readdirSync(folder).filter(file => file.endsWith('.yaml')) : []
  return files.flatMap(file => {
    try {
      const documents = parseAllDocuments(readFileSync(join(folder, file), 'utf8'))
      return documents.map(document => document.toJS() as KubeObject).filter(object => object?.kind !== undefined)
    } catch {
      return []
    }
  })
}
