// Builds the addon for each platform that a release serves, with zig: it brings a compiler, a linker and the C libraries of
// all of them, and links libc++ statically, so that the addon needs only the C library of the machine.
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** glibc 2.28 is the oldest that Node 24 itself runs on. */
const targets = {
  'x64-glibc': 'x86_64-linux-gnu.2.28',
  'x64-musl': 'x86_64-linux-musl',
  'arm64-glibc': 'aarch64-linux-gnu.2.28',
  'arm64-musl': 'aarch64-linux-musl',
} as const

export type Platform = keyof typeof targets
export const platforms = Object.keys(targets) as Platform[]

/** Builds into `native/prebuilt/PLATFORM`, where the npm package takes it from. Returns the file. */
export function buildAddon(root: string, platform: Platform): string {
  const folder = join(root, 'native/prebuilt', platform)
  // `-s`: symbol tables differ from run to run, and nobody debugs a release.
  const CXX = `${zig()} c++ -target ${targets[platform]} -s`
  execFileSync(process.execPath, [join(root, 'native/build.js'), `--into=${folder}`], {
    // The kernel's part too: what else the machine has does not matter.
    env: { ...process.env, CXX, CLANG: `${zig()} clang` },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return join(folder, 'starlane.node')
}

function zig(): string {
  const found = zigCommand()
  if (found === undefined) throw new Error('zig is not installed')
  return found
}

/** The command of zig, which has a package of its own on PyPI: `pip install ziglang`. Undefined where none runs. */
export function zigCommand(runs = canRun): string | undefined {
  return [process.env.ZIG ?? 'zig', 'python3 -m ziglang'].find(command => {
    const [program = '', ...args] = command.split(' ')
    return runs(program, [...args, 'version'])
  })
}

function canRun(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args).status === 0
}
