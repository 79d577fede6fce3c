/** The messages and methods of etcd's gRPC API (v3) that Starlane uses. Field numbers are from `rpc.proto` and `kv.proto`. */
import {
  binary,
  bytes,
  flag,
  id,
  int,
  type Message,
  type MessageOf,
  many,
  message,
  nested,
  type Shape,
  text,
} from './protobuf.ts'

/** A gRPC method with the shapes of its request and its answer. */
export interface Method<Q extends Shape, A extends Shape> {
  readonly path: string
  /** Whether it changes data: its errors then have the code SOURCE_WRITE. */
  readonly isWrite: boolean
  readonly request: Message<Q>
  readonly answer: Message<A>
}

function read<Q extends Shape, A extends Shape>(path: string, request: Message<Q>, answer: Message<A>): Method<Q, A> {
  return { path: `/etcdserverpb.${path}`, isWrite: false, request, answer }
}

function write<Q extends Shape, A extends Shape>(path: string, request: Message<Q>, answer: Message<A>): Method<Q, A> {
  return { path: `/etcdserverpb.${path}`, isWrite: true, request, answer }
}

/** Part of every answer: the id of the etcd cluster, and its revision. */
const header = message({ clusterId: id(1), memberId: id(2), revision: int(3) })
export type Header = MessageOf<typeof header>

const keyValue = message({
  key: binary(1),
  createRevision: int(2),
  modRevision: int(3),
  value: bytes(5),
  lease: id(6),
})

/** One key with its value. */
export type Entry = MessageOf<typeof keyValue>

const rangeRequest = message({
  key: binary(1),
  rangeEnd: binary(2),
  limit: int(3),
  revision: int(4),
  keysOnly: flag(8),
})
const rangeAnswer = message({ header: nested(1, header), kvs: many(2, keyValue), more: flag(3), count: int(4) })
const putRequest = message({ key: binary(1), value: bytes(2), lease: id(3) })
const deleteRequest = message({ key: binary(1), rangeEnd: binary(2) })
const headed = message({ header: nested(1, header) })

/** `result` 0: equal. `target` 1: the create revision. */
const compare = message({ result: int(1), target: int(2), key: binary(3), createRevision: int(5) })
const operation = message({ put: nested(2, putRequest), delete: nested(3, deleteRequest) })
const txnRequest = message({ compare: many(1, compare), success: many(2, operation) })
const txnAnswer = message({ header: nested(1, header), succeeded: flag(2) })

export const kv = {
  range: read('KV/Range', rangeRequest, rangeAnswer),
  txn: write('KV/Txn', txnRequest, txnAnswer),
}

const watchCreate = message({
  key: binary(1),
  rangeEnd: binary(2),
  startRevision: int(3),
  watchId: int(7),
  fragment: flag(8),
})
const watchCancel = message({ watchId: int(1) })
const watchRequest = message({ create: nested(1, watchCreate), cancel: nested(2, watchCancel) })
/** `type` 1: a deletion. */
const watchEvent = message({ type: int(1), kv: nested(2, keyValue) })
const watchAnswer = message({
  header: nested(1, header),
  watchId: int(2),
  created: flag(3),
  canceled: flag(4),
  compactRevision: int(5),
  cancelReason: text(6),
  events: many(11, watchEvent),
})
export const watch = read('Watch/Watch', watchRequest, watchAnswer)

const leaseRequest = message({ id: id(1) })
/** A time to live of 0 means that the lease is gone. */
const leaseAnswer = message({ header: nested(1, header), id: id(2), ttl: int(3) })

export const lease = {
  grant: write('Lease/LeaseGrant', message({ ttl: int(1), id: id(2) }), leaseAnswer),
  revoke: write('Lease/LeaseRevoke', leaseRequest, headed),
  keepAlive: write('Lease/LeaseKeepAlive', leaseRequest, leaseAnswer),
}

const permission = message({ type: int(1), key: binary(2), rangeEnd: binary(3) })
const named = message({ name: text(1) })
const userOptions = message({ noPassword: flag(1) })

export const auth = {
  enable: write('Auth/AuthEnable', message({}), headed),
  userAdd: write('Auth/UserAdd', message({ name: text(1), options: nested(3, userOptions) }), headed),
  userDelete: write('Auth/UserDelete', named, headed),
  grantRole: write('Auth/UserGrantRole', message({ user: text(1), role: text(2) }), headed),
  roleAdd: write('Auth/RoleAdd', named, headed),
  roleDelete: write('Auth/RoleDelete', message({ role: text(1) }), headed),
  roleGet: read(
    'Auth/RoleGet',
    message({ role: text(1) }),
    message({ header: nested(1, header), permissions: many(2, permission) }),
  ),
  revokePermission: write(
    'Auth/RoleRevokePermission',
    message({ role: text(1), key: binary(2), rangeEnd: binary(3) }),
    headed,
  ),
  grantPermission: write(
    'Auth/RoleGrantPermission',
    message({ name: text(1), permission: nested(2, permission) }),
    headed,
  ),
}

/** The end of the range of all keys with this prefix: the prefix with its last byte incremented (etcd's rule). */
export function rangeEndOf(prefix: string): string {
  const last = prefix.charCodeAt(prefix.length - 1)
  return prefix.slice(0, -1) + String.fromCharCode(last + 1)
}
