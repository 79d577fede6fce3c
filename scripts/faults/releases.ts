/** Versions of this checkout as packages, as `npm pack` makes them. Needs git, and the history of the version. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const protocolFile = 'proxy/handover/messages.ts'

export interface PackOptions {
  /** Neither types are checked nor is the addon optimised: a test waits for it. */
  readonly isHasty?: boolean
}

/**
 * The last version that this one can take over from: the newest tag `v*` with the same protocol of the handover; before the first one the
 * oldest commit that has it. Undefined where the history is not there, as in a shallow clone or an archive.
 */
export function lastRelease(): string | undefined {
  const protocol = protocolOf(readFileSync(join(root, protocolFile), 'utf8'))
  const isAlike = (commit: string) => protocolOf(git('show', `${commit}:${protocolFile}`)) === protocol
  const tags = lines(git('tag', '--list', 'v*', '--sort=-creatordate'))
  if (git('rev-parse', '--is-shallow-repository').trim() !== 'false') return tags.find(isAlike)
  return tags.find(isAlike) ?? lines(git('log', '--reverse', '--format=%h', '--', protocolFile)).find(isAlike)
}

/** The package of a commit, unpacked into a folder beside its dependencies, with its install script run. */
export function packageOf(commit: string, into: string, options: PackOptions = {}): string {
  const sources = join(into, 'source')
  mkdirSync(sources, { recursive: true })
  const archive = execFileSync('git', ['archive', commit], { cwd: root, maxBuffer: 1 << 30 })
  execFileSync('tar', ['-x', '-C', sources], { input: archive })
  symlinkSync(join(root, 'node_modules'), join(sources, 'node_modules'))
  if (options.isHasty) skipChecks(join(sources, 'tsconfig.build.json'))
  try {
    return packed(sources, into, options)
  } finally {
    rmSync(sources, { recursive: true })
  }
}

/** The package of these sources, as {@link packageOf}. */
export function packed(sources: string, into: string, { isHasty = false }: PackOptions = {}): string {
  mkdirSync(into, { recursive: true })
  run('npm', ['pack', '--silent', `--pack-destination=${into}`], sources)
  const [file = ''] = readdirSync(into).filter(each => each.endsWith('.tgz'))
  run('tar', ['-xzf', file], into)
  symlinkSync(join(root, 'node_modules'), join(into, 'node_modules'))
  const at = join(into, 'package')
  if (existsSync(join(at, 'proxy'))) throw new Error('the package has sources')
  run(process.execPath, ['native/build.js'], at, isHasty ? { CXX: hastyCompiler(into) } : {})
  return at
}

/** A copy of a package with another version. */
export function asAnother(into: string, at: string, version: string): string {
  cpSync(join(at, '..'), into, { recursive: true, verbatimSymlinks: true })
  const file = join(into, 'package/package.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), version }))
  return join(into, 'package')
}

export function versionOf(at: string): string {
  return (JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { version: string }).version
}

/** Types are only removed: neither other modules nor libraries are read. */
function skipChecks(file: string): void {
  const { compilerOptions, ...rest } = JSON.parse(readFileSync(file, 'utf8'))
  const hasty = { noCheck: true, noResolve: true, lib: ['ES5'], types: [], declaration: false }
  writeFileSync(file, JSON.stringify({ ...rest, compilerOptions: { ...compilerOptions, ...hasty } }))
}

/** As a file, since an older native/build.js may know no options. */
function hastyCompiler(folder: string): string {
  const file = join(folder, 'c++')
  writeFileSync(file, `#!/bin/sh\nexec "\${STARLANE_CXX:-c++}" "$@" -O0 -w -U_FORTIFY_SOURCE\n`)
  chmodSync(file, 0o755)
  return file
}

function run(program: string, args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): void {
  const { CXX } = process.env
  execFileSync(program, args, {
    cwd,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...(CXX && { STARLANE_CXX: CXX }), ...env },
  })
}

/** What git prints; nothing where it fails or is not there. */
function git(...args: string[]): string {
  return spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout ?? ''
}

function lines(text: string): string[] {
  return text.split('\n').filter(Boolean)
}

function protocolOf(text: string): string | undefined {
  return /^export const protocol = (\d+)$/m.exec(text)?.[1]
}
