/** The error that reports every fault of a configuration at once. */
import { type ErrorCode, MeshError } from '../model/error.ts'

/** One thing wrong with a configuration. */
export interface ConfigFault {
  readonly code: ErrorCode
  /** `conf/starlane.yaml:14` */
  readonly place: string
  /** `plugins[2].options.rest`; empty for the file as a whole. */
  readonly path: string
  readonly message: string
}

/** All faults of a configuration, one per line of the message. Its code is that of the first fault. */
export class ConfigError extends MeshError {
  readonly faults: readonly ConfigFault[]

  constructor(faults: readonly [ConfigFault, ...ConfigFault[]], options?: { cause?: unknown }) {
    super(faults[0].code, faults.map(faultText).join('\n'), options)
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** `CONF_FIELD  conf/starlane.yaml:14  proxy.drain: "30" has no unit; write 30s or 30ms` */
export function faultText({ code, place, path, message }: ConfigFault): string {
  return `${code}  ${place}  ${path === '' ? '' : `${path}: `}${message}`
}
