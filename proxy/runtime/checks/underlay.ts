/** What an underlay needs of this machine: the capability, programs, and a kernel that has the device of its mode. */
import type { Config } from '../../config/schema.ts'
import { type Output, runCommand } from '../../dataplane/frontends/command.ts'
import { messageOf } from '../../model/error.ts'
import { type Finding, findingsAt } from './finding.ts'
import { hasCapability, type ReadText, readProc, thisMachine } from './machine.ts'

const at = findingsAt(thisMachine)

type Run = (program: string, args: readonly string[]) => Promise<Output>

interface Options {
  readonly read?: ReadText
  readonly run?: Run
  readonly platform?: string
}

export async function checkUnderlay(
  { underlay }: Pick<Config, 'underlay'>,
  { read = readProc, run = runCommand, platform = process.platform }: Options = {},
): Promise<Finding[]> {
  const { mode, masquerade, program } = underlay
  if (mode === 'none') return []
  if (platform !== 'linux')
    return [at.error('underlay', `${platform} has none of its devices and routes`, 'set underlay.mode: none')]
  const lacks = 'underlay needs NET_ADMIN, which this process lacks'
  const remedy = 'run it as root, with AmbientCapabilities=CAP_NET_ADMIN, or with that capability in the container'
  return Promise.all([
    hasCapability('NET_ADMIN', read)
      ? at.good('underlay', `NET_ADMIN, for mode ${mode}`)
      : at.error('underlay', lacks, remedy),
    programFinding(run, 'ip', ['-V'], 'iproute2'),
    programFinding(run, 'bridge', ['-V'], 'iproute2'),
    ...(masquerade ? [programFinding(run, 'nft', ['--version'], 'nftables')] : []),
    ...(mode === 'wireguard'
      ? [programFinding(run, 'wg', ['--version'], 'wireguard-tools'), wireguardFinding(run, program)]
      : []),
    ...(mode === 'vxlan' || mode === 'geneve' ? [kernelFinding(run, mode)] : []),
  ])
}

async function programFinding(run: Run, name: string, args: readonly string[], debian: string): Promise<Finding> {
  const why = await failureOf(run(name, args))
  if (why === undefined) return at.good('underlay', `${name} is installed`)
  return at.error('underlay', `it needs the program ${name}, which does not run: ${why}`, `install ${debian}`)
}

async function kernelFinding(run: Run, kind: 'vxlan' | 'geneve'): Promise<Finding> {
  const found = await tryDevice(run, kind, kind === 'vxlan' ? ['id', '1', 'dstport', '4789'] : ['external'])
  if (found === 'has') return at.good('underlay', `the kernel has ${kind}`)
  const other = kind === 'geneve' ? 'vxlan' : 'direct'
  if (found === 'lacks')
    return at.error(
      'underlay',
      `the kernel has no ${kind}`,
      `modprobe ${kind}, where it is a module, or use underlay.mode: ${other}`,
    )
  return at.skipped('underlay', `whether the kernel has ${kind} could not be tried: ${found.why}`)
}

async function wireguardFinding(run: Run, program: string | undefined): Promise<Finding> {
  const found = await tryDevice(run, 'wireguard', [])
  if (found === 'has') return at.good('underlay', 'the kernel has wireguard')
  for (const name of program === undefined ? ['wireguard-go', 'boringtun-cli', 'boringtun'] : [program]) {
    if ((await failureOf(run(name, ['--version']))) === undefined)
      return at.good('underlay', `${name} carries WireGuard, where the kernel has none`)
  }
  const remedy = 'modprobe wireguard, where it is a module, or install wireguard-go'
  return at.error('underlay', 'the kernel has no wireguard that could be tried, and no program for it is here', remedy)
}

/** In a network namespace of its own, so that nothing is left; the kernel loads the module for it. */
async function tryDevice(
  run: Run,
  kind: string,
  options: readonly string[],
): Promise<'has' | 'lacks' | { readonly why: string }> {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']
  const why = await failureOf(
    run('unshare', [...user, '--net', 'ip', 'link', 'add', 'probe', 'type', kind, ...options]),
  )
  if (why === undefined) return 'has'
  return /unknown device type|not supported/i.test(why) ? 'lacks' : { why }
}

/** Undefined if the program did what it was asked. */
async function failureOf(running: Promise<Output>): Promise<string | undefined> {
  try {
    const { failed, stderr } = await running
    return failed ? stderr.trim().split('\n')[0] || 'it fails' : undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'it is not installed' : messageOf(error)
  }
}
