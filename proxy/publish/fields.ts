/** The fields of `publish:` in the configuration. */
import { boolean, duration, type Field, type Fields, integer, list, optional } from '../config/fields.ts'

/** The kinds of fields that only the configuration knows: `path` gives absolute ones. */
export interface PublishKinds {
  path(help: string): Field<string>
  server(help: string): Field<string>
}

export function publishFields({ path, server }: PublishKinds) {
  return {
    endpoints: list('The etcd servers that the other clusters read this one from.', server('A server.')),
    ca: optional(path('The certificate authority of the servers (PEM); without it those of the system.')),
    cert: optional(path('The client certificate of a user that may write (PEM), together with `key`.')),
    key: optional(path('The key of the client certificate (PEM), together with `cert`.')),
    slices: boolean('Also writes endpoint slices, which Cilium reads from 1.20 on.', false),
    lease: duration('How long everything stays there when no Starlane of this cluster is left.', '15m', {
      min: 60_000,
      max: 24 * 3_600_000,
    }),
    rate: integer('Requests to etcd in a second, each with up to 100 keys.', { min: 1, max: 1000 }, 20),
  } satisfies Fields
}
