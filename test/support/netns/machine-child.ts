/** A Starlane whose machine gets an address later, which an endpoint has: says how many backends there are before, with it, and after. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../../proxy/config/load.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { createRuntime } from '../../../proxy/runtime.ts'
import { eventually } from '../eventually.ts'
import { manifests } from '../world.ts'

const own = '10.9.9.9'
const port = 19_912
const ip = (words: string) => execFileSync('ip', words.split(' '))

const folder = await mkdtemp(join(tmpdir(), 'starlane-machine-'))
const objects = manifests({ clusterIP: '127.96.0.9', targetPort: port, pods: [{ ip: own }] }, 'api')
await mkdir(join(folder, 'cluster-1'))
await writeFile(
  join(folder, 'cluster-1', 'services.yaml'),
  objects.map(object => JSON.stringify(object)).join('\n---\n'),
)
const config = {
  cluster: 'cluster-1',
  clusters: [{ name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } }],
  dns: { listen: '127.0.0.1:0' },
  admin: { listen: '127.0.0.1:0', metrics: `0.0.0.0:${port}` },
}
await writeFile(join(folder, 'starlane.json'), JSON.stringify(config))
const runtime = await createRuntime({
  loaded: await loadConfig(join(folder, 'starlane.json')),
  log: silentLog,
  version: 'test',
  env: {},
})
await runtime.start()
await runtime.ready

const backends = () => runtime.service('default', 'api')?.backends.length
const found: Record<string, unknown> = { before: backends() }
ip(`address add ${own}/32 dev lo`)
await eventually(() => assert.equal(backends(), 0), 15_000)
found.with = runtime.status().problems.filter(({ message }) => message.includes('an address of Starlane itself')).length
ip(`address del ${own}/32 dev lo`)
await eventually(() => assert.equal(backends(), 1), 15_000)
found.after = backends()
process.stdout.write(JSON.stringify(found), () => process.exit(0))
