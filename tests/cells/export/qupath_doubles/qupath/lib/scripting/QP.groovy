package qupath.lib.scripting

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import qupath.lib.objects.PathObject

/** The functions of QuPath that the scripts call, for the project and the image in a JSON file. */
class QP {
    static final String PROJECT_BASE_DIR = '{%PROJECT}'
    static Map state = new JsonSlurper().parse(new File(System.getProperty('state')), 'UTF-8')
    static List<PathObject> objects = state.objects.collect { new PathObject(feature: it) }

    static String buildFilePath(String... parts) {
        parts.collect { it == PROJECT_BASE_DIR ? state.project : it }.join(File.separator)
    }

    static void mkdirs(String path) { new File(path).mkdirs() }

    static Entry getProjectEntry() { new Entry(imageName: state.image) }

    static Images getProject() { new Images(imageList: state.images.collect { new Entry(imageName: it) }) }

    static getCurrentServer() { state.metadata == null ? new Server() : new SlideServer() }

    static List<PathObject> getDetectionObjects() { of('detection', 'cell', 'tile') }

    static List<PathObject> getAnnotationObjects() { of('annotation') }

    private static List<PathObject> of(String... kinds) {
        objects.findAll { it.feature.properties.objectType in kinds }
    }

    static void removeObjects(Collection<PathObject> removed, boolean keepChildren) {
        objects.removeAll(removed)
    }

    static boolean addObjects(Collection<PathObject> added) {
        objects.addAll(added)
        new File(state.project, 'after.json').setText(JsonOutput.toJson(objects*.feature), 'UTF-8')
    }

    static void exportObjectsToGeoJson(Collection<PathObject> kept, String path, String option, String... more) {
        assert [option, *more] == ['FEATURE_COLLECTION', 'EXCLUDE_MEASUREMENTS']
        def collection = [type: 'FeatureCollection', features: kept*.feature]
        new File(path).setText(JsonOutput.toJson(collection), 'UTF-8')
    }

    static class Entry {
        String imageName
    }

    static class Images {
        List<Entry> imageList
    }

    static class Server {
        int getWidth() { state.size[0] }

        int getHeight() { state.size[1] }

        Collection<URI> getURIs() { state.uris.collect { new URI(it) } }
    }

    static class SlideServer extends Server {
        String dumpMetadata() { JsonOutput.toJson(state.metadata) }
    }
}
