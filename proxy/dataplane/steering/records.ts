/** Keys and values of the kernel's maps, as steering.bpf.c lays them out: addresses of 16 bytes, ports in network byte order. */
import ipaddr from 'ipaddr.js'
import { addressText, familyOf, type Protocol, type SocketAddress } from '../../model/address.ts'
import { frontendKey } from '../../model/service.ts'

export interface Place extends SocketAddress {
  readonly protocol: Protocol
}

/** A frontend's flows go to one of `count` slots of `list`, with 0 to its listener. */
export interface FrontendRecord {
  readonly listener: Place
  readonly id: number
  readonly list: number
  readonly count: number
}

export interface Slot {
  /** Records of places. */
  readonly first: Buffer
  readonly second: Buffer
  /** The part of the slot that is the first's: 0 to 1. */
  readonly own: number
}

const numbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17 }
export const placeBytes = 20
export const frontendBytes = placeBytes + 12

export function protocolNumber(protocol: Protocol): number {
  return numbers[protocol] ?? 0
}

export function placeRecord(place: Place): Buffer {
  const record = Buffer.alloc(placeBytes)
  writePlace(record, 0, place)
  return record
}

export function readPlace(record: Buffer): Place {
  const protocol = record[18] === numbers.UDP ? 'UDP' : 'TCP'
  return { address: addressText(record.subarray(0, 16)), port: record.readUInt16BE(16), protocol }
}

/** The key of a frontend at a place. */
export function placeKey({ address, port, protocol }: Place): string {
  return frontendKey(address, port, protocol)
}

export function frontendRecord({ listener, id, list, count }: FrontendRecord): Buffer {
  const record = Buffer.alloc(frontendBytes)
  writePlace(record, 0, listener)
  record.writeUInt32LE(id, 20)
  record.writeUInt32LE(list, 24)
  record.writeUInt32LE(count, 28)
  return record
}

export function readFrontend(record: Buffer): FrontendRecord {
  return {
    listener: readPlace(record),
    id: record.readUInt32LE(20),
    list: record.readUInt32LE(24),
    count: record.readUInt32LE(28),
  }
}

export function slotKey(list: number, slot: number): Buffer {
  const record = Buffer.alloc(8)
  record.writeUInt32LE(list, 0)
  record.writeUInt32LE(slot, 4)
  return record
}

export function slotRecord({ first, second, own }: Slot): Buffer {
  const record = Buffer.alloc(2 * placeBytes + 4)
  first.copy(record)
  second.copy(record, placeBytes)
  // 0 is the whole slot.
  record.writeUInt32LE(own >= 1 ? 0 : Math.max(1, Math.floor(own * 2 ** 32)), 2 * placeBytes)
  return record
}

export function memberKey(id: number, backend: Place): Buffer {
  const record = Buffer.alloc(4 + placeBytes)
  record.writeUInt32LE(id, 0)
  writePlace(record, 4, backend)
  return record
}

/** `netns` and `probe` are cookies of 8 bytes. */
export function settingsRecord(netns: Buffer, probe: Buffer, self: number): Buffer {
  const record = Buffer.alloc(24)
  netns.copy(record, 0)
  probe.copy(record, 8)
  record.writeUInt32LE(self, 16)
  return record
}

export function selfOf(settings: Buffer): number {
  return settings.readUInt32LE(16)
}

function writePlace(record: Buffer, at: number, { address, port, protocol }: Place): void {
  if (familyOf(address) === 4) {
    record.fill(0xff, at + 10, at + 12)
    let number = 0
    let byte = at + 12
    for (let i = 0; i < address.length; i++) {
      const digit = address.charCodeAt(i) - 48
      if (digit >= 0) number = number * 10 + digit
      else {
        record[byte++] = number
        number = 0
      }
    }
    record[byte] = number
  } else record.set(ipaddr.parse(address).toByteArray(), at)
  record.writeUInt16BE(port, at + 16)
  record[at + 18] = protocolNumber(protocol)
}
