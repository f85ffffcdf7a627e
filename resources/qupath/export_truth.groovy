/*
 * Writes the cells of each image of a QuPath project (0.4 or later) as the GeoJSON that slideunet takes as `labels`.
 *
 * Script editor: open this file, Run > Run for project. Without a window:
 *     QuPath script --project=project.qpproj --args=/data/labels export_truth.groovy
 *
 * Written to labels/ in the project's folder: cells and detections or, where there are none, annotations; and
 * annotations of the classes Region* (outside of them nothing is trained on or scored) and Ignore*.
 */
import groovy.json.JsonSlurper
import java.awt.geom.AffineTransform
import qupath.lib.objects.PathObjectTools
import static qupath.lib.scripting.QP.*

def given = binding.hasVariable('args') ? binding.getVariable('args') : []
def folder = given ? given[0] : buildFilePath(PROJECT_BASE_DIR, 'labels')
def stem = { String name -> name.replaceFirst(/\.[^.]*$/, '') }

def image = getProjectEntry().getImageName()
if (getProject().getImageList().count { stem(it.getImageName()) == stem(image) } > 1) {
    println "${image}: not written, another image of the project has this name. Rename one of them."
    return
}
def areas = getAnnotationObjects().findAll { it.getPathClass()?.toString() in ['Region*', 'Ignore*'] }
def drawn = getAnnotationObjects().findAll { !(it in areas) }
def detected = getDetectionObjects().findAll { !it.isTile() }
def all = areas + (detected ?: drawn)
def objects = all.findAll { it.getROI().isArea() }
if (objects.size() == areas.size()) {
    println "${image}: not written, it has no cells"
    return
}

// QuPath crops slides to what was scanned (openslide.bounds-*), whereas slideunet counts from the slide's corner.
def server = getCurrentServer()
def text = server.respondsTo('dumpMetadata') ? server.dumpMetadata() : ''
def facts = text?.startsWith('{') ? new JsonSlurper().parseText(text) : [:]
def bounds = ['x', 'y', 'width', 'height'].collect { facts["openslide.bounds-${it}".toString()] as Integer }
if ([server.getWidth(), server.getHeight()] == bounds[2..3]) {
    def move = AffineTransform.getTranslateInstance(bounds[0], bounds[1])
    objects = objects.collect { PathObjectTools.transformObject(it, move, false) }
}

mkdirs(folder)
exportObjectsToGeoJson(objects, buildFilePath(folder, stem(image) + '.geojson'), 'FEATURE_COLLECTION', 'EXCLUDE_MEASUREMENTS')
println "${image}: ${objects.size() - areas.size()} cells, ${areas.size()} regions"
if (detected && drawn)
    println "${image}: ${drawn.size()} annotations of other classes are left out, since there are cells or detections"
if (objects.size() < all.size())
    println "${image}: ${all.size() - objects.size()} points and lines are left out"
