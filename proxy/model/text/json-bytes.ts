/** The bytes that give JSON its structure (RFC 8259, 2). */
export const quote = 0x22
export const backslash = 0x5c
export const comma = 0x2c
export const colon = 0x3a
export const open = { bracket: 0x5b, brace: 0x7b } as const
export const close = { bracket: 0x5d, brace: 0x7d } as const
