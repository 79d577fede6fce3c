/**
 * API servers for the demo, one per folder of manifests, in one process:
 *
 *   node test/support/kube-api/main.ts --kubeconfig FILE --cluster cluster-1=FOLDER --cluster cluster-2=FOLDER
 *
 * Writes a kubeconfig with a context for each, sends `ready` to its parent, and runs until it is signalled to stop.
 */
import { renameSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { serveFolder } from './folder.ts'
import { writeKubeconfig } from './kubeconfig.ts'
import { startKubeApi } from './server.ts'

const { values } = parseArgs({
  options: { kubeconfig: { type: 'string' }, cluster: { type: 'string', multiple: true, default: [] } },
})
const { kubeconfig, cluster: clusters } = values
if (kubeconfig === undefined || clusters.length === 0)
  throw new TypeError('give --kubeconfig FILE and --cluster NAME=FOLDER')

const entries = await Promise.all(
  clusters.map(async cluster => {
    const [name = '', folder = ''] = cluster.split('=')
    const api = await startKubeApi()
    serveFolder(api, folder)
    return { name, server: api.url }
  }),
)
// Renamed into place, so that a reader never sees part of the file.
writeKubeconfig(`${kubeconfig}.tmp`, entries)
renameSync(`${kubeconfig}.tmp`, kubeconfig)
process.send?.('ready')
process.on('disconnect', () => process.exit())
process.on('SIGTERM', () => process.exit())
