// Makes a release: `npm run release`. For each architecture the executable, a .deb, an .rpm and an OCI image; the npm package with
// addons; a bill of materials and checksums. The same commit gives the same bytes. Nothing is published.
//
//     node scripts/release.ts [--into=release] [--only=x64] [--without=image,rpm]
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commandLine } from './command-line.ts'
import { buildAddon, platforms } from './release/addons.ts'
import { type Architecture, architectures } from './release/architecture.ts'
import { bundle } from './release/bundle.ts'
import { makeExecutable } from './release/executable.ts'
import { makeImage } from './release/image.ts'
import { missingPrograms } from './release/needs.ts'
import { nodeBinary } from './release/node-binary.ts'
import { packNpm } from './release/npm-package.ts'
import { makeDeb, makeRpm } from './release/packages.ts'
import { billOfMaterials } from './release/sbom.ts'

// Folders of the packages and of the image have the permissions that they are made with.
process.umask(0o022)

const { values } = commandLine(import.meta.url, {
  options: {
    into: { type: 'string', default: 'release' },
    only: { type: 'string' },
    without: { type: 'string', default: '' },
  },
})
const root = fileURLToPath(new URL('../', import.meta.url)).replace(/\/$/, '')
const into = resolve(values.into)
const work = join(into, 'work')
const without = new Set(values.without.split(','))
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
const made = new Date(Number(process.env.SOURCE_DATE_EPOCH ?? timeOfCommit()) * 1000)

const missing = missingPrograms(without)
if (missing.length > 0) {
  process.stderr.write(`A release needs more than this machine has:\n${missing.map(line => `  ${line}\n`).join('')}`)
  process.exit(1)
}

rmSync(into, { recursive: true, force: true })
mkdirSync(work, { recursive: true })

const code = await step('bundle', () => bundle(root))
for (const architecture of architectures.filter(({ node }) => !values.only || node === values.only)) {
  await release(architecture)
}
if (!without.has('npm')) {
  await step('npm package', () => {
    for (const platform of platforms) buildAddon(root, platform)
    packNpm({ root, work, into, made })
  })
}
await step('bill of materials', () => writeFileSync(join(into, 'sbom.cdx.json'), billOfMaterials(root, made)))
rmSync(work, { recursive: true, force: true })
writeFileSync(join(into, 'SHA256SUMS'), checksums())
process.stdout.write(`\n${readFileSync(join(into, 'SHA256SUMS'), 'utf8')}`)

async function release(architecture: Architecture): Promise<void> {
  const name = `starlane-${version}-linux-${architecture.node}`
  const executable = join(into, name)
  const here = join(work, architecture.node)
  mkdirSync(here, { recursive: true })
  await step(name, () =>
    makeExecutable({
      root,
      work: here,
      node: nodeBinary(work, architecture),
      bundle: code,
      addon: buildAddon(root, `${architecture.node}-glibc`),
      native: architecture.node === process.arch,
      output: executable,
    }),
  )
  const parts = { root, work: here, executable, version, architecture, made }
  if (!without.has('deb')) await step(`${name}.deb`, () => makeDeb({ ...parts, output: `${executable}.deb` }))
  if (!without.has('rpm')) await step(`${name}.rpm`, () => makeRpm({ ...parts, output: `${executable}.rpm` }))
  if (!without.has('image'))
    await step(`${name}.oci.tar`, () => makeImage({ ...parts, output: `${executable}.oci.tar` }))
}

async function step<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  const since = performance.now()
  const result = await work()
  process.stdout.write(`${what}  ${((performance.now() - since) / 1000).toFixed(1)} s\n`)
  return result
}

/** As `sha256sum -c` reads them. */
function checksums(): string {
  return readdirSync(into)
    .filter(name => name !== 'SHA256SUMS')
    .sort()
    .map(
      name =>
        `${createHash('sha256')
          .update(readFileSync(join(into, name)))
          .digest('hex')}  ${name}\n`,
    )
    .join('')
}

function timeOfCommit(): string {
  const { status, stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error('not a git checkout: give the time of the release as SOURCE_DATE_EPOCH')
  return stdout.trim()
}
