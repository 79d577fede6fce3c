// Writes deploy/helm/files: the objects of the overlays, which the chart puts its values into. test/deploy/chart.test.ts fails when
// they are not what this writes. Needs kubectl.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments, stringify } from 'yaml'

const root = fileURLToPath(new URL('..', import.meta.url))
export const ways = ['node-agent', 'node-agent-offload', 'gateway', 'tunnel-gateway', 'sidecar'] as const
const components = ['write-back', 'verified-pods', 'policies', 'underlay', 'underlay-keys'] as const

interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string }
}

/** Content by the file's name in deploy/helm/files. */
export function chartFiles(): Map<string, string> {
  return new Map([
    ...ways.map(way => [`${way}.yaml`, textOf(overlayObjects(way))] as const),
    ...components.map(name => [`${name}.yaml`, textOf(objectsOf(withComponent(name)))] as const),
  ])
}

/** What the chart installs of an overlay: all but the application that shows how a sidecar is used. */
export function overlayObjects(way: (typeof ways)[number]): Manifest[] {
  const objects = objectsOf(kustomize(join(root, 'deploy/overlays', way)))
  return way === 'sidecar' ? objects.filter(({ kind }) => kind !== 'Deployment') : objects
}

/** ConfigMaps lose the hash in their name: the chart notes changes in an annotation. */
export function objectsOf(text: string): Manifest[] {
  const objects = parseAllDocuments(text).map(document => document.toJS() as Manifest)
  const hashed = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.startsWith('starlane-'))
  if (!hashed) return objects
  return JSON.parse(JSON.stringify(objects).replaceAll(`"${hashed.metadata.name}"`, '"starlane"'))
}

function textOf(objects: readonly Manifest[]): string {
  return objects.map(object => stringify(object, { lineWidth: 0 })).join('---\n')
}

export function kustomize(folder: string): string {
  return execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8' })
}

/** Only what the component adds. */
function withComponent(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-chart-'))
  try {
    const component = relative(folder, join(root, 'deploy/components', name))
    const file = { apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', components: [component] }
    writeFileSync(join(folder, 'kustomization.yaml'), stringify(file))
    return kustomize(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = join(root, 'deploy/helm/files')
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of chartFiles()) writeFileSync(join(folder, name), text)
}
