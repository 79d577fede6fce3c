/** The options of an underlay, with what follows from others. */
import { join } from 'node:path'
import type { Config } from '../../config/schema.ts'
import type { Mode, UnderlayOptions } from '../../underlay/plan.ts'

const defaultPorts: Readonly<Record<Mode, number>> = {
  ...{ vxlan: 4789, geneve: 6181, direct: 4789, wireguard: 51_840 },
}
const defaultFolder = '/var/lib/starlane'

export function underlayOptions({ underlay, state }: Pick<Config, 'underlay' | 'state'>, mode: Mode): UnderlayOptions {
  const { port = defaultPorts[mode], key, ...rest } = underlay
  return { ...rest, mode, port, keyFile: key ?? join(state ?? defaultFolder, 'wireguard.key') }
}
