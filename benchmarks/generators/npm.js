// Draws labelled captchas with generators of other people that npm installs, as they are by default.
//
//     npm install svg-captcha@1.4.0 ppfun-captcha@1.7.2 trek-captcha@0.4.0 captchapng2@1.0.3 node-captcha-generator@0.0.1 @resvg/resvg-js@2.6.2
//     NODE_PATH=node_modules node benchmarks/generators/npm.js data/unseen 1000
//
// Into a folder each, <label>_<number>.png or .gif. See pypi.py.
const fs = require('fs')
const path = require('path')
const { Resvg } = require('@resvg/resvg-js')

const rendered = svg => new Resvg(svg, { background: 'white' }).render().asPng()

// Each returns a label and the file's bytes.
const generators = {
  'svg-captcha': number => { // every second one in colours
    const { text, data } = require('svg-captcha').create({ color: number % 2 === 1 })
    return [text, rendered(data)]
  },
  'ppfun-captcha': () => {
    const { text, data } = require('ppfun-captcha').create()
    return [text, rendered(data)]
  },
  'captchapng2': () => { // the size and the four digits of its own example
    const text = String(Math.floor(Math.random() * 9000 + 1000))
    return [text, new (require('captchapng2'))(80, 30, text).getBuffer()]
  },
  'node-captcha-generator': async () => { // five digits of MNIST, the size of its own example
    const Captcha = require('node-captcha-generator')
    const one = new Captcha({ length: 5, size: { width: 450, height: 200 } })
    const data = await new Promise((resolve, reject) =>
      one.toBase64((error, text) => error ? reject(error) : resolve(text)))
    return [one.value, Buffer.from(data.split(',').pop(), 'base64')]
  },
  'trek-captcha': async () => { // a GIF
    const { token, buffer } = await require('trek-captcha')()
    return [token, buffer]
  }
}

async function main ([folder, count, ...names]) {
  for (const name of names.length ? names : Object.keys(generators)) {
    fs.mkdirSync(path.join(folder, name), { recursive: true })
    for (let number = 0; number < count; number++) {
      const [label, data] = await generators[name](number)
      const suffix = data.subarray(0, 3).toString() === 'GIF' ? 'gif' : 'png'
      const file = `${label}_${String(number).padStart(4, '0')}.${suffix}`
      fs.writeFileSync(path.join(folder, name, file), data)
    }
    console.log(`${name}: ${count} images`)
  }
}

main(process.argv.slice(2))
