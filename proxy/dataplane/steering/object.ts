/** Reads an object file of eBPF (ELF, 64 bits, little endian): its programs, and the maps that they name. */

/** As `struct map` of steering.bpf.c. */
export interface MapShape {
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly entries: number
  readonly flags: number
}

export interface ProgramCode {
  readonly instructions: Buffer
  /** Where the descriptor of a map belongs: the offset of an instruction of 16 bytes, and the map's name. */
  readonly maps: readonly { readonly at: number; readonly name: string }[]
}

export interface KernelObject {
  readonly maps: ReadonlyMap<string, MapShape>
  /** By the last part of their section: `connect4`. */
  readonly programs: ReadonlyMap<string, ProgramCode>
  readonly license: string
}

interface Section {
  readonly name: string
  readonly type: number
  readonly data: Buffer
  readonly link: number
  readonly info: number
}

interface Symbol {
  readonly name: string
  readonly section: number
  readonly value: number
}

const symbolTable = 2
const relocations = 9
const prefix = 'cgroup/'
/** In the register field of an instruction that loads 64 bits: they are a map, by its descriptor. */
const isMap = 1

export function readObject(file: Buffer): KernelObject {
  const sections = sectionsOf(file)
  const table = sections.find(({ type }) => type === symbolTable)
  const symbols = table ? symbolsOf(table, sections) : []
  const inMaps = sections.findIndex(({ name }) => name === 'maps')
  const shapes = sections[inMaps]?.data ?? Buffer.alloc(0)
  const maps = symbols.filter(({ section }) => section === inMaps)
  const programs = sections.flatMap((section, i) => {
    if (!section.name.startsWith(prefix)) return []
    const found = sections.find(({ type, info }) => type === relocations && info === i)
    const code = { instructions: section.data, maps: found ? relocationsOf(found, symbols) : [] }
    return [[section.name.slice(prefix.length), code] as const]
  })
  const license = sections
    .find(({ name }) => name === 'license')
    ?.data.toString('latin1')
    .replace(/\0.*$/s, '')
  return {
    maps: new Map(maps.map(({ name, value }) => [name, shapeAt(shapes, value)])),
    programs: new Map(programs),
    license: license ?? '',
  }
}

/** The instructions with the descriptors of their maps. */
export function linked({ instructions, maps }: ProgramCode, descriptorOf: (name: string) => number): Buffer {
  const code = Buffer.from(instructions)
  for (const { at, name } of maps) {
    code[at + 1] = ((code[at + 1] as number) & 0x0f) | (isMap << 4)
    code.writeInt32LE(descriptorOf(name), at + 4)
    code.writeInt32LE(0, at + 12)
  }
  return code
}

function sectionsOf(file: Buffer): Section[] {
  const at = Number(file.readBigUInt64LE(40))
  const [size, count, namesIndex] = [file.readUInt16LE(58), file.readUInt16LE(60), file.readUInt16LE(62)]
  const headers = Array.from({ length: count }, (_, i) => file.subarray(at + i * size, at + (i + 1) * size))
  const dataOf = (header: Buffer) => {
    const start = Number(header.readBigUInt64LE(24))
    return file.subarray(start, start + Number(header.readBigUInt64LE(32)))
  }
  const names = headers[namesIndex]
  return headers.map(header => ({
    name: names ? textAt(dataOf(names), header.readUInt32LE(0)) : '',
    type: header.readUInt32LE(4),
    data: dataOf(header),
    link: header.readUInt32LE(40),
    info: header.readUInt32LE(44),
  }))
}

function symbolsOf({ data, link }: Section, sections: readonly Section[]): Symbol[] {
  const names = sections[link]?.data ?? Buffer.alloc(0)
  return pieces(data, 24).map(symbol => ({
    name: textAt(names, symbol.readUInt32LE(0)),
    section: symbol.readUInt16LE(6),
    value: Number(symbol.readBigUInt64LE(8)),
  }))
}

function relocationsOf({ data }: Section, symbols: readonly Symbol[]): { at: number; name: string }[] {
  return pieces(data, 16).map(entry => ({
    at: Number(entry.readBigUInt64LE(0)),
    name: symbols[entry.readUInt32LE(12)]?.name ?? '',
  }))
}

function shapeAt(maps: Buffer, at: number): MapShape {
  const [type, keySize, valueSize, entries, flags] = pieces(maps.subarray(at, at + 20), 4).map(word =>
    word.readUInt32LE(0),
  ) as [number, number, number, number, number]
  return { type, keySize, valueSize, entries, flags }
}

function pieces(data: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.floor(data.length / size) }, (_, i) => data.subarray(i * size, (i + 1) * size))
}

function textAt(names: Buffer, start: number): string {
  return names.toString('latin1', start, names.indexOf(0, start))
}
