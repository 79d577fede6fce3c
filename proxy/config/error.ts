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

/** Everything that is wrong with a configuration at once, a line each. Its code is the first one's. */
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
