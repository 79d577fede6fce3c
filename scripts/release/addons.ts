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
    env: { ...process.env, CXX },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return join(folder, 'starlane.node')
}

/** The command of zig, which has a package of its own on PyPI: `pip install ziglang`. */
function zig(): string {
  const commands = [process.env.ZIG ?? 'zig', 'python3 -m ziglang']
  const found = commands.find(command => {
    const [program = '', ...args] = command.split(' ')
    return spawnSync(program, [...args, 'version']).status === 0
  })
  if (found === undefined)
    throw new Error('zig is not installed; run `pip install ziglang`, or give its command in the environment as ZIG')
  return found
}
