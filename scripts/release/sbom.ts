// The bill of materials of a release, in CycloneDX: npm lists the libraries, and Node itself is added.
import { execFileSync } from 'node:child_process'

interface Bom {
  serialNumber?: string
  metadata: { timestamp?: string; component: { name: string }; [other: string]: unknown }
  components: object[]
  dependencies: { ref: string; dependsOn: string[] }[]
}

/** `made` is the time of the release. Without npm's random serial number, so that the same sources give the same bytes. */
export function billOfMaterials(root: string, made: Date): string {
  const listed = execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--omit=dev', '--package-lock-only'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  const { serialNumber: _, ...bom } = JSON.parse(listed) as Bom
  bom.metadata.timestamp = made.toISOString()
  // npm takes the name of the folder.
  bom.metadata.component.name = 'starlane'
  bom.components.push(nodeItself())
  return `${JSON.stringify(bom, undefined, 2)}\n`
}

function nodeItself(): object {
  const version = process.versions.node
  const parts = ['v8', 'openssl', 'uv', 'nghttp2', 'zlib', 'undici', 'ada', 'simdjson', 'cares']
  return {
    'bom-ref': `node@${version}`,
    type: 'application',
    name: 'node',
    version,
    purl: `pkg:generic/node@${version}`,
    cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
    scope: 'required',
    properties: parts.map(part => ({ name: `node:bundled:${part}`, value: process.versions[part] ?? 'none' })),
  }
}
