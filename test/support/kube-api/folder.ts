import { existsSync, readdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { scaleDeployment } from '../../../proxy/cli/demo/pods.ts'
import type { KubeApi } from './server.ts'
import type { KubeObject } from './types.ts'

/**
 * Joins a folder of manifests to an API server: what is written there is served, and `kubectl scale` of a Deployment is
 * written back. The demo's pods, which know nothing but the folder, thus follow kubectl. Returns how to end it.
 */
export function serveFolder(api: KubeApi, folder: string): () => Promise<void> {
  /** As the files said it last: what they say again is no news, whatever kubectl has made of it since. */
  const said = new Map<string, string>()
  const read = () => {
    for (const object of objectsIn(folder)) {
      const key = `${object.kind} ${object.metadata.name}`
      const text = JSON.stringify(object)
      if (said.get(key) !== text) put(api, object)
      said.set(key, text)
    }
    tellStatus(api)
  }
  read()
  let writing = Promise.resolve()
  const stop = api.store.onEvent(({ type, object }) => {
    if (type !== 'MODIFIED' || object.kind !== 'Deployment') return
    // One after the other: a change of the status follows each change of the rest.
    writing = writing.then(() => writeReplicas(api, folder, object.metadata.name))
  })
  const watcher = watch(folder, read)
  return async () => {
    stop()
    watcher.close()
    await writing
  }
}

async function writeReplicas(api: KubeApi, folder: string, name: string): Promise<void> {
  const written = objectsIn(folder).find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === name)
  const wanted: number | undefined = api.get('Deployment', name)?.spec.replicas
  if (!written || wanted === undefined || written.spec.replicas === wanted) return
  await scaleDeployment(folder, wanted)
}

/** Labels and annotations that kubectl has set stay. */
function put(api: KubeApi, object: KubeObject): void {
  const { metadata } = object
  const known = api.get(object.kind, metadata.name, metadata.namespace)?.metadata
  const labels = { ...known?.labels, ...metadata.labels }
  const annotations = { ...known?.annotations, ...metadata.annotations }
  api.put({ ...object, metadata: { ...metadata, labels, annotations } })
}

/** Ready pods are those of the EndpointSlices, so that `kubectl get` and `kubectl wait` tell the truth. */
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

/** A file that is being written is read again when it is complete. */
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
