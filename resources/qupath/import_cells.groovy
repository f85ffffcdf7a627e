/*
 * Adds the cells of a slideunet run, with their measurements, to the images of a QuPath project (0.4 or later).
 *
 * Script editor: open this file, name the run below unless the project lies in its folder or one folder deeper,
 * then Run > Run for project. Without a window:
 *     QuPath script --project=project.qpproj --save --args=/data/run import_cells.groovy
 *
 * An image gets results/cells/{slide}.geojson.gz of the slide that was made from a file of the same name; of
 * several in different folders, that whose path agrees the longest; without one, the slide whose id is its name.
 * Cells of an earlier import are replaced, all other objects stay.
 */
import groovy.json.JsonSlurper
import java.awt.geom.AffineTransform
import java.util.zip.GZIPInputStream
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjectTools
import static qupath.lib.scripting.QP.*

def run = ''  // such as '/data/run', the folder that has results/

def given = binding.hasVariable('args') ? binding.getVariable('args') : []
def project = new File(buildFilePath(PROJECT_BASE_DIR))
def folders = given ? [new File(given[0])] : run ? [new File(run)] : [project, project.parentFile]
def results = folders.findAll { it != null }.collect { new File(it, 'results') }.find { new File(it, 'cells').isDirectory() }
if (results == null)
    throw new FileNotFoundException("There is no results/cells in ${folders}. Name the folder of the run.")

// From the end, how many folders and names two paths have in common.
def agreement = { String one, String other ->
    def pairs = [one, other].collect { it.tokenize('/\\').reverse() }.transpose()
    pairs.takeWhile { it[0] == it[1] }.size()
}

def server = getCurrentServer()
def image = getProjectEntry().getImageName()
def paths = server.getURIs().collect { it.getPath() ?: '' }
def slides = new File(results, 'slides').listFiles().findAll { it.name.endsWith('.json') }.collect { new JsonSlurper().parse(it, 'UTF-8') }
def agreements = slides.collectEntries { slide -> [slide.slide, paths.collect { agreement(it, slide.source.image) }.max() ?: 0] }
def most = agreements.values().max() ?: 0
def found = most > 0 ? slides.findAll { agreements[it.slide] == most } : slides.findAll { it.slide in [image, image.replaceFirst(/\.[^.]*$/, '')] }
if (found.size() != 1) {
    println "${image}: left as it is, ${found ? 'several slides may be it: ' + found*.slide.sort() : 'no slide of the run is it'}"
    return
}
def slide = found[0]
def file = new File(results, "cells/${slide.slide}.geojson.gz")
if (!file.isFile()) {
    println "${image}: left as it is, there is no ${file}"
    return
}

// QuPath crops slides to what was scanned (openslide.bounds-*), whereas the run counts from the corner of the slide.
def size = [server.getWidth(), server.getHeight()]
def whole = [slide.shape[2], slide.shape[1]].collect { it * slide.scale }
def text = server.respondsTo('dumpMetadata') ? server.dumpMetadata() : ''
def facts = text?.startsWith('{') ? new JsonSlurper().parseText(text) : [:]
def bounds = ['x', 'y', 'width', 'height'].collect { facts["openslide.bounds-${it}".toString()] as Integer }
def shift = [0, 0]
if ([size, whole].transpose().any { Math.abs(it[0] - it[1]) > slide.scale }) {
    if (size != bounds[2..3]) {
        println "${image}: left as it is, it has ${size} px and slide ${slide.slide} of the run ${whole}"
        return
    }
    shift = [-bounds[0], -bounds[1]]
}

def cells = file.withInputStream { PathIO.readObjectsFromGeoJSON(new GZIPInputStream(new BufferedInputStream(it))) }
if (shift != [0, 0]) {
    def move = AffineTransform.getTranslateInstance(shift[0], shift[1])
    cells = cells.collect { cell ->
        def moved = PathObjectTools.transformObject(cell, move, true)
        moved.setName(cell.getName())
        moved
    }
}
// The ids of a run are UUIDs of version 5, made from slide and cell; QuPath's own are of version 4.
def earlier = getDetectionObjects().findAll { it.getID().version() == 5 && it.getName()?.startsWith('cell ') }
removeObjects(earlier, true)
addObjects(cells)
println "${image}: ${cells.size()} cells of slide ${slide.slide}${earlier ? ' instead of ' + earlier.size() : ''}"
