/** What a small mesh of manifests loads at its start: each package is paid for in every Pod with a sidecar. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

/** Small, or needed to read the configuration and the manifests, to answer DNS and to log. */
const known = [
  ...['atomic-sleep', 'commander', 'dns2', 'ipaddr.js', 'js-yaml', 'lru-cache', 'on-exit-leak-free', 'opossum', 'pino'],
  ...['pino-std-serializers', '@pinojs/redact', 'quick-format-unescaped', 'safe-stable-stringify', 'sonic-boom'],
  ...['thread-stream', 'valibot', 'yaml'],
]

const script = fileURLToPath(new URL('../../bench/footprint/child.ts', import.meta.url))

t.test('a start loads no package that it does not need', async t => {
  const folder = t.testdir({ one: {} })
  const config = join(folder, 'starlane.yaml')
  writeFileSync(
    config,
    `cluster: one
clusters: [{ name: one, id: 1, source: { manifests: ./one } }]
dns: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.96.0.0/16 } }
`,
  )
  const urls = JSON.parse(execFileSync(process.execPath, [script, config], { encoding: 'utf8' })) as string[]
  const packages = new Set(urls.flatMap(url => /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []))
  t.ok(packages.has('yaml'), 'the list has what is loaded')
  t.same(
    [...packages].filter(name => !known.includes(name)),
    [],
    'load it where it is first used, or add it here with its cost in bench/results/footprint/README.md',
  )
  t.same(
    urls.filter(url => url.startsWith('node:internal/deps/undici')),
    [],
    "Node's own undici, which an import of node:http by name brings",
  )
})
